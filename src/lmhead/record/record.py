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
from lmhead.record.token_row import TokenRow
from lmhead.record.vocabulary import Piece

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
            InputError: it is a header of another version, or a broken row.
        """
        kind = kind_of(line)
        if kind == "header":
            require_version(line)
            self.header = line
        elif kind == "row":
            self.rows.append(TokenRow.of_line(line))
        elif kind == "vocabulary":
            self.vocabulary |= {int(number): Piece.of_json(value) for number, value in line["vocabulary"].items()}
        elif kind == "finding":
            self.findings.append(line["finding"])
        elif kind != "other":
            {"step": self.steps, "evaluation": self.evaluations, "sample": self.samples}[kind].append(line)


def kind_of(line: Line) -> Kind:
    """What a line is."""
    return next((kind for key, kind in _TOLD_BY.items() if key in line), "other")


def read_record(file: Path) -> Record:
    """A record from its file. A line that was cut off or damaged is left out and told in `damage`.

    Raises:
        InputError: the file cannot be read, or is of another version.
    """
    record, broken, last = Record(), 0, False
    with _opened(file) as lines:
        for line in lines:
            parsed = _parsed(line)
            last = parsed is None
            broken += last
            if parsed is not None:
                record.add(parsed)
    if broken:
        cut = "the last one is cut off" if broken == 1 and last else f"{broken:,} cannot be read"
        record.damage = f"{file.name}: of its lines {cut}; the others are shown"
    return record


def require_version(header: Line) -> None:
    """Refuse a record of another version.

    Raises:
        InputError: names both.
    """
    version = header.get("record")
    if version != RECORD_VERSION:
        raise InputError(
            f"a record must be of version {RECORD_VERSION}, got {version!r}: read it with the lmhead that wrote it"
            + (f" ({made_by})" if isinstance(made_by := header.get("made_by"), str) else "")
        )


@contextmanager
def _opened(file: Path) -> Iterator[Iterator[bytes]]:
    try:
        with file.open("rb") as stream:
            yield iter(stream)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None


def _parsed(line: bytes) -> Line | None:
    try:
        parsed = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None
