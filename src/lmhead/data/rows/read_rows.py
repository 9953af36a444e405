"""Rows of whatever people keep data in: JSONL, JSON, CSV, Parquet, Arrow, text, folders of these, the Hugging Face Hub.

Everything but .json is streamed: a file may be larger than memory. Here a row is its columns; what they mean is a
format's business (formats.py), and which files of a folder are read is that of selection.py.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

from lmhead.data.rows.arrow_file import arrow_rows, columns_of_parquet, parquet_rows
from lmhead.data.rows.cells import values_of_cells
from lmhead.data.rows.csv_file import csv_rows
from lmhead.data.rows.hub_rows import hub_rows
from lmhead.data.rows.json_file import json_lines, json_rows
from lmhead.data.rows.progress import Progress, unheard
from lmhead.data.rows.reading import Reading, suffix_of, suffix_of_table
from lmhead.data.rows.renames import Renames
from lmhead.data.rows.row import Place, Row
from lmhead.data.rows.row_files import DataFile
from lmhead.data.rows.selection import Selection
from lmhead.data.rows.source_key import columns_of_key, no_row_names_it, source_that_row_names
from lmhead.data.rows.text_file import Errors, NotTextError, Reached, read_text
from lmhead.errors import InputError
from lmhead.shown import shown_line, shown_value

OnError = Callable[[Place, InputError], None]
_Read: TypeAlias = Row | tuple[Place, InputError]  # a row, or why it is none
_MOST_NAMES: Final = 1000


def read_rows(
    selection: Selection,
    *,
    on_error: OnError | None = None,
    reading: Reading | None = None,
    only: Collection[str] = (),
    progress: Progress = unheard,
) -> Iterator[Row]:
    """The rows of the files that are selected, in their order.

    Args:
        on_error: is given a row that cannot be read, with its place; the row is left out. None: its error is raised.
        reading: is told what is taken and what is left out, beside what the selection has left.
        only: of a Parquet file that has all of these, no others are read; none: all.
        progress: hears of the bytes that are read.

    Raises:
        InputError: a file is empty, damaged or vanished; or a row cannot be read.
    """
    source, reading = selection.source, selection.left.copy() if reading is None else reading
    met = _Met(source.columns, only, source.source_key)
    every = selection.every_file()
    total = None if every is None else sum(file.size for file in every)
    done = 0
    for given, files in zip(source.paths, selection.files, strict=True):
        empty, errors = True, source.errors
        for row in _hub(given, met) if files is None else _files(files, done, total, errors, reading, met, progress):
            empty = False
            if isinstance(row, Row):
                yield row
                continue
            place, error = row
            if on_error is None:
                raise error
            on_error(place, error)
        if empty:
            raise InputError(f"{shown_line(given)} is empty: it holds no rows; leave it out")
        done += sum(file.size for file in files or ())
    source.columns.require_met(met.names)
    met.require_source_key()
    progress("reading", done, total, "bytes")


class _Met:
    """The columns that rows are found to have, and what becomes of them."""

    def __init__(self, renames: Renames, only: Collection[str], source_key: str | None) -> None:
        self.renames = renames
        self.source_key = source_key
        self.names_a_source = False  # some row does
        self.only = [renames.before(name) for name in only]
        self.names: dict[str, None] = {}  # in their order, as the data calls them

    def only_of(self, file: frozenset[str]) -> list[str]:
        """Which columns of a Parquet file with these are read; none: all."""
        more = [name for name in columns_of_key(self.source_key) if name in file]
        return [*dict.fromkeys([*self.only, *more])] if self.only else []

    def require_source_key(self) -> None:
        """Raise InputError where no row says which source it is of, and a column was to."""
        if self.source_key is not None and not self.names_a_source:
            raise no_row_names_it(self.source_key, self.names)

    def row(self, place: Place, value: Any, *, cells: bool = False, file: frozenset[str] = frozenset()) -> _Read:
        """The columns of a row but for those that are null, or NaN, which tables write for it.

        Args:
            cells: they are texts, whatever they hold.
            file: all columns of its file, be it that they are not asked for.
        """
        if isinstance(value, InputError):
            return place, value
        if not isinstance(value, dict):
            return place, _no_object(place, value)
        unopened = file.difference(value)
        lacks = self.renames.theirs.difference(value)
        if (self.renames or self.source_key) and len(self.names) < _MOST_NAMES:
            self.names |= dict.fromkeys(value)
        try:
            if self.source_key is not None:
                place = replace(place, group=source_that_row_names(place, value, self.source_key))
                self.names_a_source |= place.group is not None
            if self.renames:
                value = self.renames.renamed(place, value)
            if cells:
                value = values_of_cells(place, value)
        except InputError as error:
            return place, error
        nulls = frozenset(name for name, item in value.items() if item is None or _is_nan(item))
        columns = {name: item for name, item in value.items() if name not in nulls} if nulls else value
        return Row(place=place, columns=columns, nulls=nulls, unopened=unopened, lacks=lacks)


def _hub(given: str, met: _Met) -> Iterator[_Read]:
    for place, value in hub_rows(given):
        yield met.row(place, value)


def _files(
    files: Sequence[DataFile],
    done: int,
    total: int | None,
    errors: Errors,
    reading: Reading,
    met: _Met,
    progress: Progress,
) -> Iterator[_Read]:
    """The rows of files, counted; rows that are none, with their errors."""
    for file in files:
        begun = done

        def reached(bytes_read: int, begun: int = begun) -> None:
            progress("reading", begun + bytes_read, total, "bytes")

        if file.kind == "text":
            yield from _text(file, errors, reading, reached)
        else:
            suffix = suffix_of_table(file.source)
            reading.tables[suffix] += 1
            names = columns_of_parquet(file.path) if file.kind == "parquet" and met.only else frozenset[str]()
            for place, value in _table(file, errors, met, met.only_of(names), reached):
                row = met.row(place, value, cells=file.kind == "csv", file=names)
                reading.rows[suffix] += isinstance(row, Row)
                yield row
        done += file.size
        reached(file.size)


def _text(file: DataFile, errors: Errors, reading: Reading, reached: Reached) -> Iterator[Row]:
    try:
        text = read_text(file.path, errors, source=file.source, reached=reached)
    except NotTextError as error:
        if file.named:
            raise
        reading.leave(error.kind, file.source)
        return
    if text:
        reading.texts[suffix_of(file.source)] += 1
        yield Row(place=Place(source=file.source, number=1), columns={"text": text}, whole=True)


def _table(
    file: DataFile, errors: Errors, met: _Met, only: Collection[str], reached: Reached
) -> Iterator[tuple[Place, Any]]:
    match file.kind:
        case "lines":
            return json_lines(file.path, errors, source=file.source, reached=reached)
        case "json":
            rows = met.renames.theirs
            return json_rows(file.path, errors, source=file.source, reached=reached, row_columns=rows)
        case "csv":
            return csv_rows(file.path, errors, source=file.source, reached=reached)
        case "parquet":
            return parquet_rows(file.path, only)
        case _:
            return arrow_rows(file.path)


def _no_object(place: Place, value: Any) -> InputError:
    lines = place.unit == "line" and isinstance(value, list)
    remedy = "a file that is one JSON list must be called .json" if lines else "write its columns by name"
    return InputError(f'{place} must be an object such as {{"messages": [...]}}, got {shown_value(value)}: {remedy}')


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and value != value
