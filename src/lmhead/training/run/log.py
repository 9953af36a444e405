"""log.jsonl: one record a line, appended as a run goes; read back however it was damaged."""

import json
import os
from pathlib import Path
from typing import Any, Final, final

from lmhead.errors import InputError
from lmhead.training.run.files import free_name, replace_file, writing

LOG_FILE: Final = "log.jsonl"
TOKENS_FILE: Final = "tokens.jsonl"  # beside it: the rows of its newest evaluation
Record = dict[str, Any]


@final
class RunLog:
    """The log of one run."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def append(self, *records: Record, then: str = "") -> None:
        """Add records, all or none of them, but for a kill or a full disk in the middle of a line.

        Raises:
            InputError: the disk refuses.
        """
        with writing(self.file, then=then), self.file.open("a", encoding="utf-8") as stream:
            stream.write("".join(json.dumps(record) + "\n" for record in records))

    def head(self, header: Record, *, step: int, then: str = "") -> None:
        """Add a header, unless the newest one says the same, whenever that was: of a run whose length was fixed since,
        or that goes on elsewhere or longer, or that has none, there is one more.

        Raises:
            InputError: the disk refuses.
        """
        known = [record for record in self.salvage()[0] if "record" in record]
        if not known or _undated(known[-1]) != _undated(header):
            self.append({**header, "step": step}, then=then)

    def sync(self) -> None:
        """Bring it to the disk: a checkpoint never outlives, through a power failure, the log of its steps."""
        if self.file.is_file():
            with writing(self.file), self.file.open("rb") as stream:
                os.fsync(stream.fileno())

    def records(self) -> list[Record]:
        """Every record. A last line that a kill cut off is none.

        Raises:
            InputError: a line is no record, or it is no file that can be read.
        """
        records, damage = self.salvage()
        if damage is not None:
            raise InputError(f"{self.file} {damage}")
        return records

    def salvage(self) -> tuple[list[Record], str | None]:
        """(every record that can be read, what is wrong with the rest or None)."""
        if not os.path.lexists(self.file):
            return [], None
        if not self.file.is_file():
            return [], "is no file" if not self.file.is_dir() else "is a folder"
        try:
            lines = self.file.read_bytes().split(b"\n")
        except OSError as error:
            return [], f"cannot be read: {error.strerror}"
        records: list[Record] = []
        damage: str | None = None
        for number, line in enumerate(lines, 1):
            record = _record(line)
            if record is not None:
                records.append(record)
            elif number < len(lines) and damage is None:
                shown = line[:80].decode("utf-8", "backslashreplace")
                damage = f"has a line that no run wrote: {shown}" if line else f"has an empty line, the {number}th"
        return records, damage

    def rewind(self, step: int) -> str | None:
        """Drop what was logged after `step` updates, for that is logged again; what was told of that step itself stays.

        What cannot be read is set aside whole, and what can be read of it stays; the sentence about that is returned.

        Raises:
            InputError: the disk refuses.
        """
        records, damage = self.salvage()
        note: str | None = None
        if damage is not None:
            aside = free_name(self.file.with_name(f"{self.file.name}.damaged"))
            with writing(aside):
                self.file.rename(aside)
            note = f"{self.file} {damage}: set aside as {aside.name}; {len(records):,} records of it are kept"
        elif step and not any("record" not in record for record in records):
            note = f"{self.file} has no record of the {step:,} steps that were taken: it goes on from here"
        kept = [record for record in records if record["step"] <= step]
        replace_file(self.file, "".join(json.dumps(record) + "\n" for record in kept))
        return note


def _undated(header: Record) -> Record:
    """What a header says but for when, as it is read back."""
    return {name: value for name, value in json.loads(json.dumps(header)).items() if name not in ("step", "started")}


def _record(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):  # no JSON, no UTF-8, an integer too long, or nested too deeply
        return None
    if not isinstance(record, dict) or type(record.get("step")) is not int:
        return None
    return record
