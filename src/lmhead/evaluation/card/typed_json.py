"""Plain JSON -> the dataclass that it was made of, checked field by field; one line where it is something else."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from lmhead.errors import InputError
from lmhead.shown import shown_line, shown_value


def typed(kind: Any, value: Any, name: str) -> Any:
    """`value` as the annotated type `kind`.

    Raises:
        InputError: it is of another kind, lacks a field, or has one that nobody knows.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        return None if value is None else typed(arguments[0], value, name)
    if origin is Literal:
        return _choice(value, arguments, name)
    if origin is tuple:
        each = arguments[0]
        return tuple(typed(each, item, f"{name}[{place}]") for place, item in enumerate(_of(list, value, name)))
    if origin is dict:
        return {key: typed(arguments[1], item, f"{name}.{key}") for key, item in _of(dict, value, name).items()}
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, _of(dict, value, name), name)
    if kind is float and type(value) is int:
        return float(value)
    return _of(kind, value, name)


def _dataclass(kind: Any, value: Mapping[str, Any], name: str) -> Any:
    hints = typing.get_type_hints(kind)
    fields = {each.name: each for each in dataclasses.fields(kind)}
    if strange := [key for key in value if key not in fields]:
        raise InputError(f"{shown_line(name)} must have no field {shown_value(strange[0])}: nobody knows it")
    lacks = [each.name for each in fields.values() if each.name not in value and _is_needed(each)]
    if lacks:
        raise InputError(f"{shown_line(name)} must have the field {lacks[0]!r}, got none")
    return kind(**{key: typed(hints[key], item, f"{name}.{key}") for key, item in value.items()})


def _choice(value: Any, choices: tuple[Any, ...], name: str) -> Any:
    if value not in choices:
        said = ", ".join(map(str, choices))
        raise InputError(f"{shown_line(name)} must be one of {said}, got {shown_value(value)}")
    return value


def _is_needed(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _of(kind: Any, value: Any, name: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        what = {dict: "an object", list: "a list", str: "a text", int: "a whole number", float: "a number"}
        raise InputError(f"{shown_line(name)} must be {what.get(kind, 'true or false')}, got {shown_value(value)}")
    return value
