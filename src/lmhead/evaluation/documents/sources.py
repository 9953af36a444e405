"""Sources: by what losses are told apart: the file of a document, the data set's name, or what a column of its row says."""

from collections.abc import Callable, Mapping
from typing import Any

from lmhead.batches.source_groups import short_sources
from lmhead.data.rows.renames import nearest
from lmhead.data.rows.row import Place
from lmhead.data.rows.row_error import broken
from lmhead.data.rows.selection import Selection
from lmhead.options import option
from lmhead.shown import shown_value

SourceOf = Callable[[Place, Mapping[str, Any]], str]


def columns_of_key(key: str | None) -> tuple[str, ...]:
    """The columns that have to be read for a key: itself, or the object that it is in.

    Example:
        >>> columns_of_key("meta.domain")
        ('meta.domain', 'meta')
    """
    if key is None:
        return ()
    return tuple(dict.fromkeys((key, key.partition(".")[0])))


def source_of(selection: Selection, key: str | None) -> SourceOf:
    """What tells the source of a row, of its place and the columns of its key."""
    if key is not None:
        return lambda place, columns: _value(place, columns, key)
    names = short_sources([file.source for file in selection.every_file() or ()])
    return lambda place, _: names.get(place.source, place.source)


def _value(place: Place, columns: Mapping[str, Any], key: str) -> str:
    value = columns[key] if key in columns else _within(columns, key)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    if value is not None:
        raise broken(place, key, "be a text or a number, to be a source", shown_value(value), "name what is in it")
    keys = [name for inner in columns.values() if isinstance(inner, Mapping) for name in inner]
    remedy = f"in {key.partition('.')[0]}, {nearest(key.partition('.')[2], keys)}" if keys else "give every row one"
    raise broken(
        place, option("source_key"), "name a column of every row", f"{shown_value(key)}, which it lacks", remedy
    )


def _within(columns: Mapping[str, Any], key: str) -> Any:
    """What a.b is: b in the object a."""
    value: Any = columns
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
