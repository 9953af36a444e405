"""The fields of a config.json that somebody else wrote, each of the kind that it has to be."""

from collections.abc import Mapping
from typing import Any, Final, final

from lmhead.errors import ArgumentError, require

_LARGEST: Final = 2**31 - 1


@final
class ConfigFields:
    """Reads fields; null is as good as no field, as in transformers.

    Raises:
        ArgumentError: a field is of another kind, or missing though there is no default; it is named.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def size(self, name: str, *, optional: bool = False) -> int | None:
        """An integer that can be a size."""
        value = self._fields.get(name)
        if value is None and optional:
            return None
        fits = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _LARGEST
        require(fits, name, f"be an integer in [1, {_LARGEST:,}]", _short(value))
        return int(self._fields[name])

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number."""
        value = default if self._fields.get(name) is None else self._fields[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not -1e300 < value < 1e300:
            raise ArgumentError(f"{name} must be a finite number, got {_short(value)}")
        return float(value)

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false."""
        value = default if self._fields.get(name) is None else self._fields[name]
        if not isinstance(value, bool):
            raise ArgumentError(f"{name} must be true or false, got {_short(value)}")
        return value

    def word(self, name: str, default: str | None = None) -> str:
        """A text."""
        value = default if self._fields.get(name) is None else self._fields[name]
        if not isinstance(value, str):
            raise ArgumentError(f"{name} must be a text, got {_short(value)}")
        return value[:80]

    def object(self, name: str) -> "ConfigFields":
        """The fields of an object; of none, none."""
        value = {} if self._fields.get(name) is None else self._fields[name]
        if not isinstance(value, dict):
            raise ArgumentError(f"{name} must be an object, got {_short(value)}")
        return ConfigFields(value)

    def __bool__(self) -> bool:
        return bool(self._fields)


def _short(value: object) -> str:
    """A value as JSON names it; of one that is long, its kind alone."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, int) and abs(value) > 10**30:
        return "an integer of more than 30 digits"
    if isinstance(value, str | int | float):
        return repr(value)[:80]
    return f"a {type(value).__name__}"
