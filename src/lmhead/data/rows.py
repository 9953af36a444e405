"""Rows of whatever people keep data in: JSONL, JSON, Parquet, Arrow, text, folders of these, the Hugging Face Hub.

Everything but .json is streamed: a file may be larger than memory. Here a row is its columns; what they mean is a
format's business (formats.py).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lmhead.data.arrow_file import arrow_rows, parquet_rows
from lmhead.data.hub_rows import PREFIX, hub_rows
from lmhead.data.json_file import json_lines, json_rows
from lmhead.data.row_error import shown
from lmhead.data.row_files import files_of_rows, row_kind
from lmhead.data.sample import Place, Row
from lmhead.data.text_file import Errors, read_text
from lmhead.errors import InputError, require_paths

OnError = Callable[[Place, InputError], None]


def read_rows(
    paths: Sequence[str], *, pattern: str = "*", errors: Errors = "strict", on_error: OnError | None = None
) -> Iterator[Row]:
    """The rows of files, in the order of the paths, and of the names in a folder.

    Args:
        paths: files (.jsonl, .ndjson, .json, .parquet, .arrow, any other is a text and one row; .gz on top of any but
            tables of Arrow), folders, or names of data sets on the Hub: `hf:NAME`, `hf:NAME:SPLIT`.
        pattern: which files of a folder are taken, a glob on the name.
        errors: what bytes that are not UTF-8 get: an error, or U+FFFD in their place.
        on_error: is given a row that cannot be read, with its place; the row is left out. None: its error is raised.

    Raises:
        InputError: a path does not exist, is empty, damaged or of a kind that is not read; or a row cannot be read.
    """
    if isinstance(paths, str):
        raise InputError(f"paths must be a list of paths, got the string {paths!r}: put it into a list")
    require_paths("paths", paths)
    for given in paths:
        empty = True
        for place, value in _values(given, pattern, errors):
            empty = False
            try:
                row = Row(place=place, columns=_columns(place, value))
            except InputError as error:
                if on_error is None:
                    raise
                on_error(place, error)
                continue
            yield row
        if empty:
            raise InputError(f"{given} is empty: it holds no rows; leave it out")


def _values(given: str, pattern: str, errors: Errors) -> Iterator[tuple[Place, Any]]:
    if given.startswith(PREFIX):
        yield from hub_rows(given)
        return
    for path in files_of_rows(given, pattern):
        match row_kind(path):
            case "lines":
                yield from json_lines(path, errors)
            case "json":
                yield from json_rows(path, errors)
            case "parquet":
                yield from parquet_rows(path)
            case "arrow":
                yield from arrow_rows(path)
            case "text":
                if text := read_text(path, errors):
                    yield Place(source=str(path), number=1), {"text": text}


def _columns(place: Place, value: Any) -> dict[str, Any]:
    """The columns of a row but for those that are null, or NaN, which tables write for it."""
    if isinstance(value, InputError):
        raise value
    if not isinstance(value, dict):
        lines = place.unit == "line" and isinstance(value, list)
        remedy = "a file that is one JSON list must be called .json" if lines else "write its columns by name"
        raise InputError(f'{place} must be an object such as {{"messages": [...]}}, got {shown(value)}: {remedy}')
    return {name: item for name, item in value.items() if item is not None and not _is_nan(item)}


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and value != value
