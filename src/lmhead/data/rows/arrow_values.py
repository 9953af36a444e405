"""Values of Arrow -> values of rows, by the schema: JSON is decoded, and nulls that a table filled in are left out.

A table gives every row the keys of all rows and fills them with nulls. Inside of a JSON value there is no filling: its
nulls were meant, and stay.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from lmhead.data.rows.json_file import what_json_lacks
from lmhead.errors import InputError
from lmhead.shown import shown_value

_JSON: Final = "arrow.json"
_NAMED_IN: Final = b"ARROW:extension:name"  # of a field, where this pyarrow does not know the type
_Read = Callable[[Any], Any]


def row_reader(schema: Any, *, decoded: bool = False) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """A function of a row as `to_pylist` gives it.

    Args:
        schema: a pyarrow.Schema; None: it is not known, and every null counts as filled in.
        decoded: JSON was decoded already, as `datasets` does.

    The function raises InputError for a text that is no JSON where the schema says so.
    """
    readers = (
        {} if schema is None else {field.name: _reader(field, f"column {field.name}", decoded) for field in schema}
    )
    return lambda row: {name: readers.get(name, without_fill)(value) for name, value in row.items()}


def without_fill(value: Any) -> Any:
    """The value without keys that are null, where no schema tells more."""
    if isinstance(value, dict):
        return {key: without_fill(item) for key, item in value.items() if item is not None}
    return [without_fill(item) for item in value] if isinstance(value, list) else value


def _reader(field: Any, name: str, decoded: bool) -> _Read:
    """Of the values of one field."""
    from pyarrow import types

    kind = field.type
    if _is_json(field):
        return _unchanged if decoded else lambda value: value if value is None else _loaded(value, name)
    if types.is_struct(kind):
        return _struct({each.name: _reader(each, name, decoded) for each in kind})
    if types.is_map(kind):
        return _map(_reader(kind.item_field, name, decoded))
    if hasattr(kind, "value_field"):  # lists of any kind
        return _list(_reader(kind.value_field, name, decoded))
    return without_fill


def _is_json(field: Any) -> bool:
    named = (field.metadata or {}).get(_NAMED_IN, b"").decode()
    return _JSON in (getattr(field.type, "extension_name", None), named)


def _loaded(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        lacks = f"{what_json_lacks(error)} at character {error.pos}"
    except ValueError:  # Python converts no longer integers
        lacks = "it has an integer of thousands of digits"
    except RecursionError:
        lacks = "it is nested too deeply"
    raise InputError(
        f"{name} must hold JSON, as its type says, got {shown_value(text)}: {lacks}; mend the row, or leave it out"
    )


def _unchanged(value: Any) -> Any:
    return value


def _struct(fields: Mapping[str, _Read]) -> _Read:
    def read(value: Any) -> Any:
        if not isinstance(value, dict):  # an image that `datasets` has decoded
            return value
        return {key: fields.get(key, without_fill)(item) for key, item in value.items() if item is not None}

    return read


def _list(item: _Read) -> _Read:
    return lambda value: [item(each) for each in value] if isinstance(value, list) else value


def _map(item: _Read) -> _Read:
    """Pairs, as pyarrow makes them of a map, as a dict."""

    def read(value: Any) -> Any:
        pairs = value.items() if isinstance(value, dict) else value
        return value if pairs is None else {key: item(each) for key, each in pairs if each is not None}

    return read
