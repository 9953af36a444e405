"""The lock of a run's folder: one process at a time trains into it, and a dead one holds nothing.

It is flock(2) on RUN/.lock: the kernel keeps it with the open file and lets it go with the process, however that ends,
kill -9 included. What is written in the file (who holds it) is only for the message. A process that is forked off
gives up its copy at once, so that it cannot hold what its parent left.
"""

import contextlib
import fcntl
import os
import socket
import time
from pathlib import Path
from typing import Final, final

from lmhead.errors import InputError
from lmhead.options import option
from lmhead.training.run.files import told, writing

LOCK_FILE: Final = ".lock"
_PATIENCE: Final = 0.5  # seconds: somebody who only looks whether a run is trained holds its lock for a moment
_PAUSE: Final = 0.02

_held: set[int] = set()  # descriptors of this process


def _drop_in_child() -> None:
    for number in _held:
        with contextlib.suppress(OSError):
            os.close(number)
    _held.clear()


os.register_at_fork(after_in_child=_drop_in_child)


@final
class RunLock:
    """The lock of one folder, held or not."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / LOCK_FILE
        self._number: int | None = None

    def acquire(self) -> None:
        """Take it.

        Raises:
            InputError: another process holds it (which one is said), or the folder cannot be written or locked.
        """
        deadline = time.monotonic() + _PATIENCE
        while self._number is None:
            with writing(self.file):
                number = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            try:
                free = _try(number)
            except OSError as error:
                os.close(number)
                raise InputError(
                    f"cannot lock {self.folder}: {told(error)}: two processes could train into it; train into a folder "
                    "on a disk of this machine"
                ) from None
            if free and _is(self.file, number):
                self._number = number
                _held.add(number)
                _sign(number)
                return
            os.close(number)  # held by another, or removed between the opening and the locking
            if time.monotonic() > deadline:
                raise InputError(
                    f"{self.folder} is being trained by {_signed(self.file)}: wait for it or stop it; "
                    f"a new run is made with another {option('out')}"
                )
            time.sleep(_PAUSE)

    def release(self) -> None:
        """Let it go, where it is held."""
        if self._number is not None:
            _held.discard(self._number)
            os.close(self._number)
            self._number = None

    def lost(self) -> bool:
        """Whether the folder is no longer the one that was locked: another one has its name."""
        return self._number is not None and self.file.exists() and not _is(self.file, self._number)


def holder(folder: Path) -> str | None:
    """Who trains into a folder at this moment, "process 4711"; None: nobody. Nothing is written."""
    try:
        number = os.open(folder / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _signed(folder / LOCK_FILE)
    except OSError:
        return None  # no locks here: nobody can hold one
    finally:
        os.close(number)
    return None


def _try(number: int) -> bool:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is(file: Path, number: int) -> bool:
    """Whether the file of that name is the open one."""
    try:
        named = file.stat()
    except OSError:
        return False
    return os.path.samestat(named, os.fstat(number))


def _sign(number: int) -> None:
    """Say who holds it. A disk too full for that is told by the next write."""
    with contextlib.suppress(OSError):
        os.ftruncate(number, 0)
        os.pwrite(number, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)


def _signed(file: Path) -> str:
    try:
        words = file.read_bytes()[:300].decode(errors="replace").split()
    except OSError:
        words = []
    if not words or not words[0].isdecimal():
        return "another process"
    elsewhere = "" if words[1:] == [socket.gethostname()] else f" on {' '.join(words[1:])}"
    return f"process {words[0]}{elsewhere}"
