"""The formats of data that people have, one record each, and the samples of files in any of them.

A format is recognised by a row's columns. Where a row has those of several, the first in FORMATS is taken: what holds
messages before what holds their text or their ids, which may be another tokenizer's.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from lmhead.data.formats.chat_formats import (
    read_alpaca,
    read_messages,
    read_prompt_completion,
    read_responses,
    read_sharegpt,
)
from lmhead.data.formats.marks import mark_of_bad, marks_of
from lmhead.data.formats.row_text import checked_text
from lmhead.data.formats.sample import Sample, TextSample
from lmhead.data.formats.token_format import read_tokens
from lmhead.data.formats.unread import Unread, WatchedColumns
from lmhead.data.rows.format_columns import COLUMNS, TEXT, has_columns, name_of_format
from lmhead.data.rows.progress import Progress, unheard
from lmhead.data.rows.read_rows import OnError, read_rows
from lmhead.data.rows.reading import EMPTY_ROW, MARKED, Reading
from lmhead.data.rows.renames import Columns, nearest
from lmhead.data.rows.row import Place, Row
from lmhead.data.rows.row_error import broken, did_you_mean, listed
from lmhead.data.rows.row_files import KINDS, data_suffix
from lmhead.data.rows.selection import Selection, select
from lmhead.data.rows.source import Source
from lmhead.data.rows.text_file import Errors
from lmhead.errors import ArgumentError, InputError
from lmhead.options import option


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format: its columns, and how a row of it is read."""

    name: str
    read: Callable[[Row], Sample]  # raises InputError: place, rule, remedy

    @property
    def columns(self) -> tuple[tuple[str, ...], ...]:
        """All of these, each under one of its names."""
        return COLUMNS[self.name]

    def matches(self, columns: Mapping[str, Any]) -> bool:
        """Whether a row has the columns of this format."""
        return has_columns(self.name, columns)

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(names[0] for names in self.columns)})"


def _read_text(row: Row) -> TextSample:
    return TextSample(place=row.place, text=checked_text(row.place, "text", row.columns["text"]))


FORMATS: Final[dict[str, Format]] = {
    one.name: one
    for one in (
        Format(name="messages", read=read_messages),
        Format(name="sharegpt", read=read_sharegpt),
        Format(name="prompt_completion", read=read_prompt_completion),
        Format(name="alpaca", read=read_alpaca),
        Format(name="tokens", read=read_tokens),
        Format(name=TEXT, read=_read_text),
        Format(name="responses", read=read_responses),
    )
}
_ITEMS: Final = 'an output is a text, or items that have a type, [{"type": "message", "role": "assistant", ...}]'


def _renamed(pairs: str) -> str:
    return f"rename them, {option('columns', pairs)}, or write messages"


_NEARLY: Final = {  # columns of data that one step makes a format
    frozenset({"chosen", "rejected"}): "these are preferences; keep the chosen answer, as messages or completion",
    frozenset({"question", "answer"}): _renamed("prompt=question,completion=answer"),
    frozenset({"query", "response"}): _renamed("prompt=query,completion=response"),
    frozenset({"input", "output"}): _renamed("prompt=input,completion=output"),
    frozenset({"inputs", "targets"}): _renamed("prompt=inputs,completion=targets"),
    frozenset({"content"}): f"rename it, {option('columns', 'text=content')}",
    frozenset({"tokens"}): f"rename it, {option('columns', 'input_ids=tokens')}",
}


def format_of(row: Row, name: str | None = None) -> Format:
    """The format of a row: the one that is named, or the first whose columns it has.

    Raises:
        ArgumentError: no format has that name.
        InputError: the row has not the columns of that format, or of any.
    """
    if name is not None:
        named = format_named(name)
        if not named.matches(row.columns):
            wanted = " and ".join(" or ".join(names) for names in named.columns)
            raise broken(
                row.place, "a row", f"have {wanted}, as {option('format', name)} says", _found(row), _remedy(row)
            )
        return named
    found = name_of_format(row.columns)
    if found is None:
        raise broken(row.place, "a row", "have the columns of a format", _found(row), _remedy(row))
    return FORMATS[found]


def format_named(name: str) -> Format:
    """The format of that name.

    Raises:
        ArgumentError: there is none.
    """
    if name not in FORMATS:
        near = did_you_mean(name, FORMATS)
        remedy = f": did you mean {near}?" if near else ""
        raise ArgumentError(f"{option('format')} must be one of {listed(FORMATS)}, got {name!r}{remedy}")
    return FORMATS[name]


def read_samples(
    paths: Sequence[str],
    *,
    format: str | None = None,
    pattern: str = "*",
    exclude: Sequence[str] = (),
    errors: Errors = "strict",
    columns: Columns = None,
    source_key: str | None = None,
    on_error: OnError | None = None,
    progress: Progress = unheard,
) -> "Samples":
    """The samples of files, read while they are iterated over.

    The format of a file is that of its first row; a row of another format in the same file is an error. Files may
    differ. A row whose text is empty or null is left out, and counted (`.reading`).

    Args:
        paths: files (.jsonl, .ndjson, .json, .csv, .tsv, .parquet, .arrow, any other is a text and one row; .gz or
            .zst on top of any but tables of Arrow), folders, `-` for standard input, pipes, or names of data sets on
            the Hub: `hf:NAME`, `hf:NAME:SPLIT`.
        pattern: which files of a folder are taken, a glob on the name, or on the path in the folder if it holds a /.
        exclude: globs of files and folders that are left out; as pattern.
        errors: what bytes that are not UTF-8 get: an error, or U+FFFD in their place. Files of a folder that are no
            text are left out.
        columns: what is to be renamed: {"messages": "dialogue"} makes the data's dialogue our messages.
        source_key: the column, as the data call it, that says which source a row is of (`place.origin`); rows without
            it are of their file.
        progress: hears of the bytes that are read.
        format: a name of FORMATS; None: recognised by the columns.
        on_error: is given a row that breaks its format, with its place; the row is left out. None: its error is raised.

    Raises:
        ArgumentError: there is no such format, or no such column to rename one to. While iterating, what `select`,
            `read_rows` and `format_of` raise.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "rows.jsonl"
        >>> _ = path.write_text('{"text": "The capital is Paris."}')
        >>> [sample.text for sample in read_samples([str(path)])]
        ['The capital is Paris.']
    """
    source = Source.of(paths, pattern=pattern, exclude=exclude, errors=errors, columns=columns, source_key=source_key)
    return Samples(source, format=format, on_error=on_error, progress=progress)


class Samples:
    """Samples of files, read anew by each iteration, and what the last one met.

    Args:
        data: the files that were selected; or where to look for them when reading begins.
        format, on_error, progress: as of `read_samples`.
    """

    def __init__(
        self,
        data: Selection | Source,
        *,
        format: str | None = None,
        on_error: OnError | None = None,
        progress: Progress = unheard,
    ) -> None:
        if format is not None:
            format_named(format)
        self._data = data
        self._format = format
        self._on_error = on_error
        self._progress = progress
        self.formats: Counter[str] = Counter()  # name -> rows
        self.passed_over: Counter[str] = Counter()  # formats whose columns rows had as well -> rows
        self.reading = Reading()
        self.unread = Unread()

    def __iter__(self) -> Iterator[Sample]:
        self.formats.clear()
        self.passed_over.clear()
        self.unread = Unread()
        selection = select(self._data, self._progress) if isinstance(self._data, Source) else self._data
        self.reading = selection.left.copy()
        rows = read_rows(
            selection,
            on_error=self._on_error,
            reading=self.reading,
            only=(TEXT,) if self._format == TEXT else (),
            progress=self._progress,
        )
        first: dict[str, tuple[Place, Format]] = {}  # of each file
        for row in rows:
            if self._is_empty(row):
                self.reading.leave_row(EMPTY_ROW, row.place.source, str(row.place))
                continue
            columns = WatchedColumns(row.columns)
            try:
                found = self._format_of(row, first)
                if (mark := mark_of_bad(row.place, row.columns, found.name)) is not None:
                    self.reading.leave_row(f"{MARKED}{mark}", row.place.source, str(row.place))
                    continue
                columns.asked.update(marks_of(row.columns, found.name))
                columns.asked.update(selection.source.source_columns)
                sample = _read(found, replace(row, columns=columns))
            except InputError as error:
                if self._on_error is None:
                    raise
                self._on_error(row.place, error)
                continue
            self.formats[found.name] += 1
            self.unread.look_at(row, columns, sample)
            self.passed_over.update(
                one.name for one in FORMATS.values() if one is not found and one.matches(row.columns)
            )
            yield sample
        if not self.formats:
            self._refuse_rows_that_were_left()

    def _refuse_rows_that_were_left(self) -> None:
        """Raise InputError where every row was left out: there is nothing to learn."""
        for kind, where in self.reading.first.items():
            if kind == EMPTY_ROW:
                rule = "text must hold something to learn, got none in any row: give rows with some"
                raise InputError(f"{where}: {rule}")
            if kind.startswith(MARKED):
                mark, _, value = kind.removeprefix(MARKED).partition(" is ")
                wanted = {"false": "true", "true": "false"}.get(value, "above 0")
                rule = f"{mark} must be {wanted} in some row, got {value} in all"
                raise InputError(f"{where}: {rule}: a row that is marked so is not learnt")

    def _is_empty(self, row: Row) -> bool:
        """A row of text without any: there is nothing to learn, and nothing is wrong with it."""
        if row.columns.get(TEXT) != "" and TEXT not in row.nulls:
            return False
        return self._format == TEXT or name_of_format([*row.columns, *row.nulls]) == TEXT

    def _format_of(self, row: Row, first: dict[str, tuple[Place, Format]]) -> Format:
        """The format of a row, which is that of its file."""
        found = format_of(row, self._format)
        place, expected = first.setdefault(row.place.source, (row.place, found))
        if found is not expected:
            remedy = "write rows of another format to another file, or name the format"
            before = f"{place.unit} {place.number}"
            raise broken(row.place, "a row", f"be {expected.name} as {before} of its file is", found.name, remedy)
        return found


def _read(found: Format, row: Row) -> Sample:
    try:
        return found.read(row)
    except RecursionError:  # JSON that Python reads may still be too deep to be walked through
        raise InputError(f"{row.place} is nested too deeply: leave the row out") from None


def _found(row: Row) -> str:
    return f"the columns {listed(row.columns)}" if row.columns else "no column that is not null"


def _remedy(row: Row) -> str:
    """What is nearest: a column that was to be renamed, a step for known data, a misspelt column, or all formats."""
    for name in sorted(row.lacks):
        return f"{option('columns')} names {name}, which it has not: {nearest(name, row.columns)}"
    if isinstance(row.columns.get("input"), str) and not isinstance(row.columns.get("output", ""), str):
        return f"{_ITEMS}, or write messages"
    whole = name_of_format(row.columns)
    if whole is not None:  # it was to be another one
        return f"its columns are those of {option('format', whole)}"
    for columns, step in _NEARLY.items():
        if columns <= set(row.columns):
            return step
    known = [name for one in FORMATS.values() for names in one.columns for name in names]
    for column in row.columns:
        near = did_you_mean(str(column), known)
        if near and near != column:
            return f"did you mean {near}?"
    null = next((name for name in known if name in row.nulls), None)
    if null:
        return f"{null} is null; give it a value, or leave the row out"
    lacking = [
        (one, [names[0] for names in one.columns if not set(names) & set(row.columns)]) for one in FORMATS.values()
    ]
    partly = next(((one, names) for one, names in lacking if len(names) < len(one.columns)), None)
    if partly:
        return f"{partly[0].name} has {listed(partly[1])} as well"
    formats = f"the formats are {', '.join(map(str, FORMATS.values()))}"
    in_table = KINDS.get(data_suffix(row.place.source)) == "csv"
    return f"the first line of the file must name its columns; {formats}" if in_table else formats
