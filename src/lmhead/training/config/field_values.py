"""The value that YAML gives for a field -> what the field holds, or one line that says what it must be. No torch."""

import reprlib
import types
import typing
from typing import Any, Final, Literal

from lmhead.errors import InputError, require

_IN_WORDS: Final[dict[object, str]] = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}


def value_of(kind: object, value: Any, name: str) -> object:
    """`value` as the annotated type `kind`: no guessing beyond int -> float and list -> tuple.

    Raises:
        InputError: it is of another type, or none of the choices.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):  # of a Literal it is the latter
        return None if value is None else value_of(arguments[0], value, name)
    if origin is Literal:
        require(value in arguments, name, f"be one of {', '.join(arguments)}", reprlib.repr(value))
        return value
    if origin is tuple:
        if not isinstance(value, list) or not all(_is(item, arguments[0]) for item in value):
            what = "numbers" if arguments[0] is float else "strings"
            raise InputError(f"{name} must be a list of {what}, got {reprlib.repr(value)}")
        return tuple(value_of(arguments[0], item, name) for item in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return _as_float(value, name)
    if not isinstance(value, typing.cast(type, kind)) or (kind is int and isinstance(value, bool)):
        raise InputError(f"{name} must be {_IN_WORDS[kind]}, got {_shown(value)}{_remedy(kind, value)}")
    return value


def _is(item: object, kind: object) -> bool:
    if kind is float:
        return isinstance(item, int | float) and not isinstance(item, bool)
    return isinstance(item, str)


def _shown(value: object) -> str:
    """As YAML writes it, and never longer than a line."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return reprlib.repr(value)


def _as_float(value: int, name: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise InputError(f"{name} must be a number below 1.8e308, got {reprlib.repr(value)}") from None


def _remedy(kind: object, value: object) -> str:
    """How a value that YAML takes for something else is written."""
    if kind is str and not isinstance(value, list | dict):
        return ": put quotes around it"
    if kind is int and isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return f": write {int(value)}, without a point or an exponent"
    if kind is int and isinstance(value, str) and value.replace("_", "").isdecimal():
        return f": write {int(value.replace('_', ''))}"
    if kind is bool and isinstance(value, str) and value.lower() in ("yes", "on", "no", "off"):
        return f": write {'true' if value.lower() in ('yes', 'on') else 'false'}"
    return ""
