"""Paths as they were given -> the files that are read, each with its kind: the one answer of training and the doctor.

Of a folder with .arrow files, these alone are read. Where a table holds conversations, the tables alone; else every
file is a text, but for tables with a `text` column, which are rows of text.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from lmhead.data.rows.arrow_file import arrow_rows, columns_of_parquet
from lmhead.data.rows.csv_file import csv_columns
from lmhead.data.rows.folder import Found, files_of_folder
from lmhead.data.rows.format_columns import TEXT, holds_rows, name_of_format
from lmhead.data.rows.hub_rows import PREFIX
from lmhead.data.rows.json_file import NoRowsError, json_lines, json_rows
from lmhead.data.rows.not_text import FIRST_BYTES, what_it_is
from lmhead.data.rows.progress import Progress, unheard
from lmhead.data.rows.reading import BESIDE_ARROW, BESIDE_CONVERSATIONS, NO_COLUMNS, NO_ROWS, NO_TEXT, Reading
from lmhead.data.rows.renames import Renames
from lmhead.data.rows.row import Place
from lmhead.data.rows.row_files import KINDS, DataFile, Kind, data_suffix, row_kind
from lmhead.data.rows.source import Source
from lmhead.data.rows.streams import is_stream, kept_stream
from lmhead.errors import InputError

_TEXTS_TOO: Final = ("json", "csv")  # kinds of which a file without rows is a text
BROKEN = "broken"  # no format has that name: a first row that cannot be read is taken, and told by whoever reads it


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The files of a Source, found once: whoever reads the rows, once or again, reads these."""

    source: Source
    files: tuple[tuple[DataFile, ...] | None, ...]  # of each path; None: it is a name on the Hub
    left: Reading  # what was left out of folders; readers count on in a copy

    def every_file(self) -> list[DataFile] | None:
        """Those of all paths; None where a path is a name on the Hub, whose files nobody knows."""
        if None in self.files:
            return None
        return [file for files in self.files for file in files or ()]

    def names(self) -> Callable[[Place], str]:
        """What a row is called wherever the data lie: its file's name within what was given, and its number."""
        files = {file.source: file.name for file in self.every_file() or ()}
        return lambda place: f"{files.get(place.source, place.source)}:{place.number}"

    def of_each_path(self) -> Iterator["Selection"]:
        """A selection of one path after the other."""
        for given, files in zip(self.source.paths, self.files, strict=True):
            yield replace(self, source=replace(self.source, paths=(given,)), files=(files,))


def require_files(paths: Iterable[str]) -> None:
    """What can be told of data before a model or a tokenizer is looked for, which may be asked of the Hub.

    Raises:
        InputError: there is no such file or folder.
    """
    for given in paths:
        if given and not given.startswith(PREFIX) and not is_stream(given):
            _status(given, Path(given))


def select(source: Source, progress: Progress = unheard) -> Selection:
    """The files that are given, and those of folders; first rows of a folder's tables are read to tell which are data.

    Args:
        progress: hears of standard input and pipes, which are read here.

    Raises:
        InputError: there is no such file, it is none, a folder cannot be read, or nothing in it is data.
    """
    left = Reading()
    found = (
        None if given.startswith(PREFIX) else tuple(_files(given, source, left, progress)) for given in source.paths
    )
    return Selection(source=source, files=tuple(found), left=left)


def _files(given: str, source: Source, reading: Reading, progress: Progress) -> list[DataFile]:
    """The file that is given, or those of the folder."""
    if not given:
        raise InputError("data must name files or folders, got an empty name: give one, or . for the current folder")
    if is_stream(given):
        path = kept_stream(given, progress)
        return [_named(given, path, _kind_of_stream(given, path, source.columns), path.stat().st_size)]
    path = Path(given)
    status = _status(given, path)
    if stat.S_ISDIR(status.st_mode):
        reading.whole_folder = True
        return _of_folder(given, path, source, reading)
    if not stat.S_ISREG(status.st_mode):
        what = "a socket" if stat.S_ISSOCK(status.st_mode) else "a device"
        raise InputError(f"{given} must be a file, a folder, a pipe or standard input, got {what}: write it to a file")
    return [_named(given, path, row_kind(given), status.st_size)]


def _status(given: str, path: Path) -> os.stat_result:
    shown = given if len(given) <= 200 else f"{given[:200]}..."
    try:
        return path.stat()
    except FileNotFoundError:
        raise InputError(f"no such file or folder: {shown}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in it
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {shown}: {reason}; give another file or folder") from None


def _named(given: str, path: Path, kind: Kind, size: int) -> DataFile:
    name = given if is_stream(given) else path.name
    return DataFile(path=path, source=given, name=name, kind=kind, real=os.path.realpath(path), size=size, named=True)


def _kind_of_stream(given: str, path: Path, renames: Renames) -> Kind:
    """By its name where that says it; else lines where the first one is a row, and a text otherwise."""
    named = KINDS.get(data_suffix(given))
    if named is not None:
        return named
    try:
        _, first = next(json_lines(path, source=given), (None, None))
    except InputError:
        return "text"
    return "lines" if isinstance(first, dict) and name_of_format(renames.keys(first)) is not None else "text"


def _of_folder(given: str, folder: Path, source: Source, reading: Reading) -> list[DataFile]:
    files = [_found(file) for file in files_of_folder(folder, source, reading)]
    if any(file.kind == "arrow" for file in files):
        return _taken(files, lambda file: file.kind == "arrow", BESIDE_ARROW, reading)
    texts = [file for file in files if file.kind == "text"]
    files = [file if file.kind == "text" else replace(file, format=_format(file, source.columns)) for file in files]
    if any(file.format not in (None, TEXT, BROKEN) for file in files if file.kind != "text"):
        for text in texts:
            reading.leave(_beside(text), text.source)
        files = [file for file in files if file.kind != "text"]
        files = _taken(files, lambda file: file.kind != "json" or file.format is not None, NO_ROWS, reading)
        return _taken(files, lambda file: file.kind != "csv" or file.format is not None, NO_COLUMNS, reading)
    files = [_as_text(file) if file.kind in _TEXTS_TOO and file.format != TEXT else file for file in files]
    if texts or any(file.kind == "text" or file.format is not None for file in files):
        files = _taken(files, lambda file: file.kind == "text" or file.format is not None, NO_TEXT, reading)
    if not files:
        raise InputError(f"{given} must hold files of data, got none{_but(reading)}")
    return files


def _but(reading: Reading) -> str:
    left = [line for line in reading.lines() if line.startswith("left out")]
    return f" ({left[0]})" if left else ""


def _found(file: Found) -> DataFile:
    return DataFile(
        path=file.path,
        source=str(file.path),
        name="/".join(file.parts),
        kind=KINDS.get(data_suffix(file.parts[-1]), "text"),
        real=file.real,
        size=file.size,
        named=False,
    )


def _as_text(file: DataFile) -> DataFile:
    return replace(file, kind="text", format=TEXT)


def _taken(
    files: list[DataFile], taken: Callable[[DataFile], bool], otherwise: str, reading: Reading
) -> list[DataFile]:
    for file in files:
        if not taken(file):
            reading.leave(otherwise, file.source)
    return [file for file in files if taken(file)]


def _beside(file: DataFile) -> str:
    """What a file is that is no table, by its first bytes: a text, an image, an archive."""
    try:
        with file.path.open("rb") as stream:
            first = stream.read(FIRST_BYTES)
    except OSError:
        return BESIDE_CONVERSATIONS  # it is not read
    return what_it_is(first, file.path.name) or BESIDE_CONVERSATIONS


def _format(file: DataFile, renames: Renames) -> str | None:
    """Of the first row of a table; None where it is no row of any format."""
    try:
        match file.kind:
            case "parquet":
                return name_of_format(renames.names(columns_of_parquet(file.path)))
            case "csv":
                return name_of_format(renames.names(csv_columns(file.path)))
            case "arrow":
                first: object = next(arrow_rows(file.path), (None, None))[1]
            case "json":
                first = next(json_rows(file.path, row_columns=renames.theirs), (None, None))[1]
                if not isinstance(first, dict) or not holds_rows(
                    renames.renamed(Place(source=file.source, number=1), first)
                ):
                    return None
            case _:
                first = next(json_lines(file.path), (None, None))[1]
    except NoRowsError:
        return None
    except InputError:
        return BROKEN
    if isinstance(first, InputError):
        return BROKEN
    if not isinstance(first, dict):
        return None
    return name_of_format(renames.keys({name: value for name, value in first.items() if value is not None}))
