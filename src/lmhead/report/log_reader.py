"""Reading a log that grows: each time only what is new, whole lines alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, final

from lmhead.errors import InputError

_BLOCK: Final = 2**24  # bytes that are read at once


@final
class LogReader:
    """One file of JSON lines, read on from where it was left."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.broken = 0  # lines that are no JSON object
        self._read = 0  # bytes
        self._rest = b""  # behind the last line end
        self._node: int | None = None

    def replaced(self) -> bool:
        """Whether the file is another one, or shorter, than when it was last read."""
        try:
            now = self.file.stat()
        except OSError:
            return False
        return self._node not in (None, now.st_ino) or now.st_size < self._read

    def new_lines(self) -> Iterator[dict[str, Any]]:
        """Every whole line that was written since.

        Raises:
            InputError: the file cannot be read.
        """
        try:
            with self.file.open("rb") as stream:
                self._node = self.file.stat().st_ino
                stream.seek(self._read)
                while block := stream.read(_BLOCK):
                    self._read += len(block)
                    *lines, self._rest = (self._rest + block).split(b"\n")
                    for line in lines:
                        parsed = self._parsed(line)
                        if parsed is not None:
                            yield parsed
        except OSError as error:
            raise InputError(f"cannot read {self.file}: {error.strerror}") from None

    def cut_off(self) -> bool:
        """Whether something stands behind the last line end."""
        return bool(self._rest.strip())

    def _parsed(self, line: bytes) -> dict[str, Any] | None:
        try:
            parsed = json.loads(line.decode("utf-8"))  # of bytes it would guess the encoding
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            self.broken += 1
            return None
        return parsed
