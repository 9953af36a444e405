"""An inspection out of a record that was written before, by this library or by anybody's trainer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args

from lmhead.errors import InputError
from lmhead.inspection.finding import Finding, Severity, worst_first
from lmhead.inspection.tokens.inspection import Inspection
from lmhead.record.header import header
from lmhead.record.record import read_record

_BEGINS: Final = b'{"record"'


def is_record(path: str) -> bool:
    """Whether a file begins as a record does."""
    try:
        with Path(path).open("rb") as stream:
            return stream.read(len(_BEGINS)) == _BEGINS
    except OSError:
        return False


def read_inspection(file: Path) -> Inspection:
    """The rows of a record, with its findings; what is damaged is told in the notes.

    Raises:
        InputError: the file cannot be read, is of another version, or holds no rows of tokens.
    """
    record = read_record(file)
    if not record.rows:
        why = f"{record.damage}" if record.damage else "lmhead report draws that of a run"
        raise InputError(
            f"{file} must hold rows of tokens, got a record of {len(record.steps):,} steps without any: {why}"
        )
    notes = [*map(str, record.header.get("notes", ())), *([record.damage] if record.damage else [])]
    return Inspection(
        findings=worst_first(map(_finding, record.findings)),
        rows=tuple(record.rows),
        vocabulary=record.vocabulary,
        header=header(title=file.name) | record.header | {"notes": notes},
    )


def _finding(line: Mapping[str, Any]) -> Finding:
    severity: Severity = line["severity"] if line.get("severity") in get_args(Severity) else "info"
    return Finding(
        code=str(line.get("code", "finding")),
        severity=severity,
        count=int(line.get("count", 1)),
        rows=tuple(map(int, line.get("rows", ()))),
        places=tuple(map(str, line.get("places", ()))),
        message=str(line.get("message", "")),
        remedy=str(line.get("remedy", "")),
        spots=tuple((int(row), int(token)) for row, token in line.get("spots", ())),
    )
