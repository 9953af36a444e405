"""Writing a run's files: whole or not at all, and with the true reason and its remedy where the system refuses."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from lmhead.errors import InputError

_REMEDIES: Final = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space of your quota",
    errno.EACCES: "give yourself the right to write there",
    errno.EPERM: "it is protected (immutable, or somebody else's): lift that, or take another folder",
    errno.EROFS: "make that file system writable, or take a folder on another one",
    errno.ENOENT: "a folder on the way to it is gone: put it back",
    errno.ENOTDIR: "a part of that path is a file where a folder has to be: move that file away",
    errno.EISDIR: "a folder has that name: move it away",
    errno.EIO: "the disk fails: look at the system's log, and copy the run to another disk",
    errno.ESTALE: "the network folder was lost: mount it again",
    errno.EFBIG: "files are limited in size here: raise that (ulimit -f)",
    errno.EMFILE: "too many files are open: raise that limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine: close some",
    errno.ENAMETOOLONG: "take a shorter path",
    errno.ELOOP: "symbolic links lead round in a circle: mend them",
}


def replace_file(file: Path, text: str, *, then: str = "") -> None:
    """Put `text` in the place of a file, which at any moment is the old one or the new one, whole.

    Raises:
        InputError: it cannot be written, with the reason; the old one stays.
    """
    draft = file.with_name(f".{file.name}.tmp")
    with writing(file, then=then):
        try:
            with draft.open("w", encoding="utf-8", newline="") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(file)
        except OSError:
            _remove(draft)
            raise
        sync_folder(file.parent)


def _remove(draft: Path) -> None:
    with suppress(OSError):  # the error that led here says what is wrong
        draft.unlink(missing_ok=True)


@contextmanager
def writing(path: Path, *, then: str = "") -> Iterator[None]:
    """Every write goes through here: what the system refuses becomes "cannot write PATH: reason: remedy".

    Args:
        then: what to do once that is mended.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {told(error)}{then}") from error


def told(error: BaseException) -> str:
    """ "reason: remedy" of what a write raised, whichever library wrote. Space is asked for only where it lacks."""
    number = _number(error)
    if number is None:
        return " ".join(str(error).split())
    reason = os.strerror(number)
    return f"{reason}: {_REMEDIES[number]}" if number in _REMEDIES else reason


def _number(error: BaseException | None) -> int | None:
    """The system's number of the error, or of the one behind it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        if found := re.search(r"\(os error (\d+)\)", str(error)):  # as Rust says it: safetensors
            return int(found[1])
        error = error.__cause__ or error.__context__
    return None


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last: what was renamed there is there after the power fails, too."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):  # some network folders cannot, nor need to
            raise
    finally:
        os.close(number)


def free_name(path: Path) -> Path:
    """`path`, or the first of path-2, path-3, ... that is not taken."""
    candidate, number = path, 1
    while os.path.lexists(candidate):
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate
