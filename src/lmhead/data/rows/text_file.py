"""Bytes of a file, packed by gzip or zstd or not, and their UTF-8; what is wrong with either is named."""

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Literal, cast

from lmhead.data.rows.not_text import FIRST_BYTES, undecodable, what_it_is
from lmhead.data.rows.row_error import one_line
from lmhead.data.rows.row_files import packing, unpacked_name
from lmhead.data.rows.zstd_file import NotZstdError, open_zstd
from lmhead.errors import InputError
from lmhead.options import option

Errors = Literal["strict", "replace"]
Reached = Callable[[int], None]  # is told how many bytes of a file are read; of a packed one, of its packed bytes
_BLOCK: Final = 2**24  # bytes that are read at a time
_OFTEN: Final = 4096  # lines between two reports
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_OTHER_KINDS = {  # by their first bytes: what the file is, and what to do
    b"PK\x03\x04": "a zip archive: unpack it",
    b"\x1f\x8b": "packed by gzip: let its name end with .gz",
    b"\x28\xb5\x2f\xfd": "packed by zstd: let its name end with .zst",
    b"PAR1": "a Parquet file: let its name end with .parquet",
}


class NotTextError(InputError):
    """A file holds no text; `kind` says in a few words what it is."""

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[object, ...]:
        return _not_text, (self.message, self.kind)


def _not_text(message: str, kind: str) -> NotTextError:
    return NotTextError(message, kind=kind)


def unmoved(reached: int) -> None:
    """The Reached of whoever does not listen."""


def read_text(path: Path, errors: Errors = "strict", *, source: str | None = None, reached: Reached = unmoved) -> str:
    """The whole text of a file.

    Args:
        errors: what bytes that are not UTF-8 get: an error, or U+FFFD in their place.
        source: what errors call the file; None: its path.

    Raises:
        NotTextError: it is something else, by its first bytes, or not UTF-8.
        InputError: it cannot be read, or is damaged.
    """
    source = str(path) if source is None else source
    raw = _whole(path, source, reached)
    name = unpacked_name(path)
    first = bytes(raw[:FIRST_BYTES])
    what = what_it_is(first, name)
    known = _other_kind(source, first)
    if known is not None:
        raise NotTextError(str(known), kind=what or undecodable(first, name))
    if what is not None and not what.startswith("text"):
        message = f"{source} must be a text, got bytes that are none ({what}): leave it out, or convert it to UTF-8"
        raise NotTextError(message, kind=what)
    try:
        return raw.decode("utf-8", errors if what is None else "strict")  # what is UTF-16 is not to be patched up
    except UnicodeDecodeError as error:
        raise NotTextError(
            _no_utf8(source, first, raw[error.start], error.start), kind=what or undecodable(first, name)
        ) from None


def byte_lines(path: Path, *, source: str | None = None, reached: Reached = unmoved) -> Iterator[bytes]:
    """The lines of a file, one at a time, each with its line end.

    Raises:
        InputError: it cannot be read, or is damaged.
    """
    source = str(path) if source is None else source
    number = 0
    with _readable(source, lambda: number), path.open("rb") as packed, _unpacked(path, packed, source) as file:
        for line in file:
            number += 1
            if number == 1 and (other := _other_kind(source, line)) is not None:
                raise other
            yield line
            if number % _OFTEN == 0:
                reached(packed.tell())


def decoded(raw: bytes, place: str, errors: Errors = "strict") -> str:
    """The text of bytes, `place` being whose they are.

    Raises:
        InputError: they are not UTF-8.
    """
    try:
        return raw.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise InputError(_no_utf8(place, raw, raw[error.start], error.start)) from None


def _no_utf8(place: str, first: bytes, byte: int, position: int) -> str:
    kind = "UTF-16" if first.startswith(_UTF16) else "not UTF-8"
    replaced = "" if kind == "UTF-16" else f", or give {option('errors', 'replace')}"
    leave = "leave it out" if replaced else "or leave it out"
    return f"{place} is {kind}: byte 0x{byte:02x} at position {position}; convert it to UTF-8, {leave}{replaced}"


def _whole(path: Path, source: str, reached: Reached) -> bytearray:
    """Every byte, unpacked. What is not packed is read into as many bytes as it has, not into twice as many."""
    with _readable(source), path.open("rb", buffering=0) as packed, _unpacked(path, packed, source) as file:
        content = bytearray(0 if packing(path) else os.fstat(packed.fileno()).st_size)
        done = 0
        with memoryview(content) as view:
            while count := packed.readinto(view[done : done + _BLOCK]):
                done += count
                reached(done)
        del content[done:]  # it shrank
        while block := file.read(_BLOCK):  # it is packed, or it grew
            content += block
            reached(packed.tell())
    return content


def _unpacked(path: Path, packed: IO[bytes], source: str) -> IO[bytes]:
    match packing(path):
        case ".gz":
            return cast(IO[bytes], gzip.open(packed, "rb"))
        case ".zst":
            return open_zstd(packed, source)
        case _:
            return packed


@contextmanager
def _readable(source: str, line: Callable[[], int] = lambda: 0) -> Iterator[None]:
    """Errors of reading as what they are. `line`: how many lines were read."""
    try:
        yield
    except (gzip.BadGzipFile, NotZstdError) as error:
        by, suffix = ("gzip", ".gz") if isinstance(error, gzip.BadGzipFile) else ("zstd", ".zst")
        remedy = f"rename it without {suffix}, or download it again"
        raise InputError(f"{source} must be packed by {by}, got {one_line(error)}: {remedy}") from None
    except (EOFError, zlib.error) as error:
        raise InputError(
            f"{source} is damaged after line {line()}: {one_line(error)}; write or download it again"
        ) from None
    except OSError as error:
        raise InputError(
            f"cannot read {source}: {error.strerror or error}; make it readable, or leave it out"
        ) from None


def _other_kind(source: str, first: bytes) -> InputError | None:
    """Some binary files have lines that can be read: those of a zip archive that was renamed, say."""
    for begins, what in _OTHER_KINDS.items():
        if first.startswith(begins):
            return InputError(f"{source} must be the text that its name says, got {what}")
    return None
