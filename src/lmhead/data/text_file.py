"""Bytes of a file, packed by gzip or not, and their UTF-8; what is wrong with either is named."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from lmhead.data.row_error import one_line
from lmhead.data.row_files import is_gzip
from lmhead.errors import InputError

Errors = Literal["strict", "replace"]
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_OTHER_KINDS = {  # by their first bytes: what the file is, and what to do
    b"PK\x03\x04": "a zip archive: unpack it",
    b"\x1f\x8b": "packed by gzip: let its name end with .gz",
    b"PAR1": "a Parquet file: let its name end with .parquet",
}


def read_text(path: Path, errors: Errors = "strict", *, otherwise: str = "") -> str:
    """The whole text of a file.

    Args:
        errors: what bytes that are not UTF-8 get: an error, or U+FFFD in their place.
        otherwise: a further remedy, for the error.

    Raises:
        InputError: it cannot be read, is damaged, or is not UTF-8.
    """
    return decoded(b"".join(byte_lines(path)), str(path), errors, otherwise=otherwise)


def byte_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, one at a time, each with its line end.

    Raises:
        InputError: it cannot be read, or is damaged.
    """
    number = 0
    try:
        with gzip.open(path, "rb") if is_gzip(path) else path.open("rb") as file:
            for line in file:
                number += 1
                if number == 1:
                    _require_no_other_kind(path, line)
                yield line
    except gzip.BadGzipFile as error:
        remedy = "rename it without .gz, or download it again"
        raise InputError(f"{path} must be packed by gzip, got {one_line(error)}: {remedy}") from None
    except (EOFError, zlib.error) as error:
        raise InputError(
            f"{path} is damaged after line {number}: {one_line(error)}; write or download it again"
        ) from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None


def _require_no_other_kind(path: Path, line: bytes) -> None:
    """Some binary files have lines that can be read: those of a zip archive that was renamed, say."""
    for begins, what in _OTHER_KINDS.items():
        if line.startswith(begins):
            raise InputError(f"{path} must be the text that its name says, got {what}")


def decoded(raw: bytes, place: str, errors: Errors = "strict", *, otherwise: str = "") -> str:
    """The text of bytes, `place` being whose they are.

    Raises:
        InputError: they are not UTF-8.
    """
    try:
        return raw.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        kind = "UTF-16" if raw.startswith(_UTF16) else "not UTF-8"
        raise InputError(
            f"{place} is {kind}: byte 0x{raw[error.start]:02x} at position {error.start}; convert it to UTF-8, "
            f"or leave it out{otherwise}"
        ) from None
