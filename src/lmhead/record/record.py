"""Reading a record: JSON lines of one version, whole or cut off; what a line is, its keys tell.

{"record": 1, "made_by": ..., "config": ..., ...}   the header, first; a log without one is of version 1
{"step": 5, "loss": 2.1, ...}                       one update
{"step": 50, "evaluation": "quick", "nll": ...}     one evaluation
{"step": 50, "sample": "...", "prompt": "..."}      what the model writes by then
{"ids": [...], "targets": [...], "reason": [...]}   a row of tokens (token_row.py)
{"vocabulary": {"464": "The"}}                      what ids stand for (vocabulary.py); several add up
{"finding": {...}}                                  something wrong, or odd, with the rows
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from lmhead.errors import InputError
from lmhead.record.line_check import fault_of
from lmhead.record.token_row import TokenRow
from lmhead.record.vocabulary import Piece, pieces_of
from lmhead.shown import shown_line, shown_value

RECORD_VERSION: Final = 1
Line = dict[str, Any]
Kind = Literal["header", "step", "evaluation", "sample", "row", "vocabulary", "finding", "other"]
_TOLD_BY: Final[dict[str, Kind]] = {  # the key, in this order
    "record": "header",
    "evaluation": "evaluation",
    "sample": "sample",
    "ids": "row",
    "vocabulary": "vocabulary",
    "finding": "finding",
    "loss": "step",
}


@dataclass(slots=True, kw_only=True)
class Record:
    """Every line of a record, by kind and in order."""

    header: Line = field(default_factory=dict)
    steps: list[Line] = field(default_factory=list)
    evaluations: list[Line] = field(default_factory=list)
    samples: list[Line] = field(default_factory=list)
    rows: list[TokenRow] = field(default_factory=list)
    vocabulary: dict[int, Piece] = field(default_factory=dict)
    findings: list[Line] = field(default_factory=list)
    damage: str | None = None  # what is wrong with the lines that are not here, in a sentence

    @staticmethod
    def of_lines(lines: Iterable[Line]) -> "Record":
        """A record of lines that were read already.

        Raises:
            InputError: it is of another version, or a row is broken.
        """
        record = Record()
        for line in lines:
            record.add(line)
        return record

    def add(self, line: Line) -> None:
        """Take one more line.

        Raises:
            InputError: it is a header of another version, or a field of it is not what it must be.
        """
        kind = kind_of(line)
        if kind == "header":
            require_version(line)
        if (fault := fault_in(line)) is not None:
            raise InputError(fault)
        if kind == "header":
            self.header = line
        elif kind == "row":
            self.rows.append(TokenRow.of_line(line))
        elif kind == "vocabulary":
            self.vocabulary |= pieces_of(line["vocabulary"])
        elif kind == "finding":
            self.findings.append(line["finding"])
        elif kind != "other":
            {"step": self.steps, "evaluation": self.evaluations, "sample": self.samples}[kind].append(line)


def kind_of(line: Line) -> Kind:
    """What a line is."""
    return next((kind for key, kind in _TOLD_BY.items() if key in line), "other")


def fault_in(line: Line) -> str | None:
    """What is wrong with the fields of a line, in a sentence; None where nothing is. Rows are asked by TokenRow."""
    kind = kind_of(line)
    fields = line["finding"] if kind == "finding" else line
    return fault_of(kind, fields) if isinstance(fields, dict) else '"finding" must be an object'


def read_record(file: Path) -> Record:
    """A record from its file. Lines that were cut off or are not as they must be are left out, and told in `damage`.

    Raises:
        InputError: the file cannot be read, is of another version, or has no line of a record.
    """
    record = Record()
    faults: list[tuple[int, str]] = []  # number of the line, what is wrong with it
    number, last = 0, b""
    with _opened(file) as lines:
        for number, last in enumerate(lines, 1):
            fault = _taken(record, last)
            if fault is not None:
                faults.append((number, fault))
    cut = bool(faults) and faults[-1][0] == number and not last.endswith(b"\n")
    if faults and len(faults) == number and not (cut and number == 1):
        raise InputError(f"{file} must be a record, JSON lines; of its {number:,} none is: in the first {faults[0][1]}")
    if faults:
        record.damage = f"{file.name}: {_damage(faults, number, cut=cut)}"
    return record


def _taken(record: Record, line: bytes) -> str | None:
    """What is wrong with a line; None where the record has taken it."""
    try:
        parsed = json.loads(line)
    except (ValueError, RecursionError):
        return "is no JSON"
    if not isinstance(parsed, dict):
        return "is no object"
    if kind_of(parsed) == "header":
        require_version(parsed)
    try:
        record.add(parsed)
    except InputError as error:
        return str(error)
    return None


def _damage(faults: list[tuple[int, str]], count: int, *, cut: bool) -> str:
    if cut and len(faults) == 1:
        return f"its last line, line {count:,}, is cut off; the others are shown"
    number, fault = faults[0]
    which = f"line {number:,}"
    if len(faults) > 1:
        which = f"{len(faults):,} of its {count:,} lines, first {which},"
    return f"{which} cannot be used ({fault}); the others are shown"


def require_version(header: Line, name: str = "") -> None:
    """Refuse a record of another version, called by its name where there are several.

    Raises:
        InputError: names both.
    """
    version, made_by = header.get("record"), header.get("made_by")
    if type(version) is not int or version != RECORD_VERSION:
        by = f" ({shown_line(made_by)[:60]})" if isinstance(made_by, str) else ""
        raise InputError(
            f"{name}{': ' if name else ''}a record must be of version {RECORD_VERSION}, got {shown_value(version)}: "
            f"read it with the lmhead that wrote it{by}"
        )


@contextmanager
def _opened(file: Path) -> Iterator[Iterator[bytes]]:
    try:
        with file.open("rb") as stream:
            yield iter(stream)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None
