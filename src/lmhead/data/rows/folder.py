"""A folder -> its files in the order of their paths: links followed, loops cut, each real file once.

Left out, and counted: what is hidden or empty, what patterns leave out, the runs of lmhead, pipes and devices.
"""

import fnmatch
import os
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from lmhead.data.rows.reading import BROKEN_LINK, EMPTY, EXCLUDED, HIDDEN, LINKED, NO_FILE, RUN, UNFITTING, Reading
from lmhead.data.rows.source import Source
from lmhead.errors import InputError
from lmhead.options import option

_Folder: TypeAlias = tuple[Path, tuple[str, ...], str]  # as it is found, the parts of its path, its real path
_OF_A_RUN: Final = ("log.jsonl", "checkpoints", "tokenizer.json")  # beside a config.yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A file of a folder."""

    path: Path
    parts: tuple[str, ...]  # of its path within the folder
    real: str
    size: int  # bytes
    is_link: bool


def files_of_folder(folder: Path, source: Source, reading: Reading) -> list[Found]:
    """The files, sorted by the parts of their paths. What is reached both by a link and without has the latter's.

    Raises:
        InputError: a folder in it cannot be read, or vanished meanwhile.
    """
    seen: set[str] = set()  # real paths of folders
    waiting: deque[_Folder] = deque(
        [(folder, (), os.path.realpath(folder))]
    )  # those behind links come after all others
    met: list[Found] = []
    while waiting:
        met += _walk(*waiting.popleft(), source, reading, seen, waiting)
    found: dict[str, Found] = {}
    for file in sorted(met, key=lambda file: file.is_link):
        if found.setdefault(file.real, file) is not file:
            reading.leave(LINKED, str(file.path))
    return sorted(found.values(), key=lambda file: file.parts)


def _walk(
    folder: Path,
    parts: tuple[str, ...],
    real: str,
    source: Source,
    reading: Reading,
    seen: set[str],
    links: "deque[_Folder]",
) -> Iterator[Found]:
    """The files of a folder and of those in it; links to folders are put into `links`."""
    stack = [(folder, parts, real)]
    while stack:
        path, parts, real = stack.pop()
        if real in seen:
            reading.leave(LINKED, str(path))
            continue
        seen.add(real)
        entries = _entries(path)
        if parts and _is_run({entry.name for entry in entries}):
            reading.leave(RUN, str(path))
            continue
        inner: list[_Folder] = []
        for entry in entries:
            here = Path(path, entry.name)
            inside = (*parts, entry.name)
            if entry.name.startswith("."):
                reading.leave(HIDDEN, str(here))
                continue
            behind = os.path.realpath(here) if entry.is_symlink() else str(Path(real, entry.name))
            status = _status(here, entry.is_symlink())
            if status is None:
                reading.leave(BROKEN_LINK, str(here))
            elif any(_fits(inside, glob, folder=stat.S_ISDIR(status.st_mode)) for glob in source.exclude):
                reading.leave(EXCLUDED, str(here))
            elif stat.S_ISDIR(status.st_mode):
                (links if entry.is_symlink() else inner).append((here, inside, behind))
            elif not _fits(inside, source.pattern):
                reading.leave(UNFITTING, str(here))
            elif not stat.S_ISREG(status.st_mode):
                reading.leave(NO_FILE, str(here))
            elif not status.st_size:
                reading.leave(EMPTY, str(here))
            else:
                yield Found(path=here, parts=inside, real=behind, size=status.st_size, is_link=entry.is_symlink())
        stack += reversed(inner)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(
            f"cannot read {folder}: {error.strerror}; make it readable, or leave it out with {option('exclude')}"
        ) from None


def _status(path: Path, is_link: bool) -> os.stat_result | None:
    """Of what a link leads to; None where that is nothing."""
    try:
        return path.stat()
    except OSError as error:
        if is_link:
            return None
        raise InputError(
            f"cannot read {path}: {error.strerror}; leave it out with {option('exclude')}, or start again"
        ) from None


def _is_run(names: set[str]) -> bool:
    return "config.yaml" in names and any(name in names for name in _OF_A_RUN)


def _fits(parts: tuple[str, ...], glob: str, *, folder: bool = False) -> bool:
    """Whether a glob is of a path within the folder: `tests`, `tests/*` and `*/tests/` are of a whole folder too."""
    if "/" not in glob:
        return fnmatch.fnmatchcase(parts[-1], glob)
    return fnmatch.fnmatchcase("/".join(parts) + "/" * folder, glob.removeprefix("./"))
