"""Standard input and pipes as data: read once, kept in a file that ends with the process, and read again from there."""

import atexit
import os
import select
import shutil
import stat
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Final

from lmhead.data.rows.progress import Progress
from lmhead.errors import InputError
from lmhead.shown import shown_line

STANDARD_INPUT: Final = ("-", "/dev/stdin")
_DESCRIPTORS: Final = ("/dev/fd/", "/proc/self/fd/")
_PATIENCE: Final = 2.0  # seconds until it is told that nobody writes
_LOOK: Final = 0.2  # seconds between two looks
_BLOCK: Final = 2**20  # bytes
_kept: dict[str, Path] = {}  # what was given -> the file that holds what came out of it


def is_stream(given: str) -> bool:
    """Whether what is given can be read only once."""
    if given in STANDARD_INPUT or given.startswith(_DESCRIPTORS):
        return True
    try:
        return stat.S_ISFIFO(Path(given).stat().st_mode)
    except (OSError, ValueError):
        return False


def kept_stream(given: str, progress: Progress) -> Path:
    """A file with all that came out of standard input or a pipe; it is read when it is first asked for.

    Raises:
        InputError: it is closed or cannot be read, or the disk is full.
    """
    if given not in _kept:
        folder = Path(tempfile.mkdtemp(prefix="lmhead-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        try:
            with (folder / "stream").open("wb") as file:
                if given in STANDARD_INPUT:
                    _copy_standard_input(file, progress)
                else:
                    _copy(given, file, progress)
        except OSError as error:
            if given.startswith(_DESCRIPTORS):
                remedy = "it can be read once, where it was opened: give the same text once more"
            else:
                remedy = "give a file"
            raise InputError(f"cannot read {given}: {error.strerror}; {remedy}") from None
        _kept[given] = folder / "stream"
    return _kept[given]


def _copy_standard_input(file: IO[bytes], progress: Progress) -> None:
    done = 0
    while block := sys.stdin.buffer.read(_BLOCK):
        file.write(block)
        done += len(block)
        progress("reading", done, None, "bytes")


def _copy(given: str, file: IO[bytes], progress: Progress) -> None:
    """Opened without waiting for a writer, so that it can be told that there is none."""
    pipe = os.open(given, os.O_RDONLY | os.O_NONBLOCK)
    try:
        poll = select.poll()
        poll.register(pipe, select.POLLIN | select.POLLHUP)
        begun, done = time.monotonic(), 0
        while True:
            if not poll.poll(_LOOK * 1000):
                if not done and time.monotonic() - begun >= _PATIENCE:
                    progress(f"waiting for a writer of {shown_line(given)}", 0, None, "bytes")
                continue
            block = os.read(pipe, _BLOCK)
            if not block:
                return
            file.write(block)
            done += len(block)
            progress("reading", done, None, "bytes")
    finally:
        os.close(pipe)
