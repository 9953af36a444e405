"""source_key: the column of a row that says which source it is of, by which losses are told apart."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from lmhead.data.rows.renames import nearest
from lmhead.data.rows.row import Place
from lmhead.data.rows.row_error import broken
from lmhead.errors import InputError
from lmhead.options import option
from lmhead.shown import shown_value

_LONGEST: Final = 200  # characters


def columns_of_key(key: str | None) -> tuple[str, ...]:
    """The columns that have to be read for a key: itself, or the object that it is in.

    Example:
        >>> columns_of_key("meta.domain")
        ('meta.domain', 'meta')
    """
    return () if key is None else tuple(dict.fromkeys((key, key.partition(".")[0])))


def source_that_row_names(place: Place, row: Mapping[str, Any], key: str) -> str | None:
    """What the column says, of a.b the b in the object a; None where it says nothing: the row is its file's.

    Raises:
        InputError: what stands there is no name.

    Example:
        >>> source_that_row_names(Place(source="a.jsonl", number=1), {"meta": {"domain": "web"}}, "meta.domain")
        'web'
    """
    value: Any = row.get(key)
    if key not in row and "." in key:
        value = row
        for name in key.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
    if value is None or value == "" or value != value:  # NaN, which tables write for null
        return None
    text = str(value)
    if not isinstance(value, str | int) or len(text) > _LONGEST:
        rule = f"be a text of at most {_LONGEST} characters or a whole number, which tells the source"
        raise broken(place, key, rule, shown_value(value), f"name another column, or none, with {option('source_key')}")
    return text


def no_row_names_it(key: str, met: Iterable[str]) -> InputError:
    """The error of a key that no row has, with the columns that were met."""
    got = f"{shown_value(key)}, which no row has"
    return InputError(f"{option('source_key')} must name a column, got {got}: {nearest(key, met)}")
