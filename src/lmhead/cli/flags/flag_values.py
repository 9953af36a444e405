"""The value of a flag: text -> what its field holds, or one line that says what it must be."""

import difflib
import math
from typing import Final, NoReturn

from lmhead.cli.flags.flag_table import Flag
from lmhead.errors import InputError
from lmhead.shown import shell_word

_MAY_BE_EMPTY: Final = ("prompt", "system")  # texts; an empty name or path is a variable that was not set


def value_of(flag: Flag, text: str) -> object:
    """`text` as the field's kind.

    Raises:
        InputError: it is no such value.
    """
    if flag.optional and (text == "None" or (flag.kind is not str and text.lower() == "none")):
        return None
    if not text and flag.name not in _MAY_BE_EMPTY:
        raise InputError(f"{flag.written} must not be empty, got '': give a value, or leave the flag out")
    if flag.choices:
        return _choice(flag, text)
    if flag.kind is int:
        return _whole(flag, text)
    if float in (flag.kind, flag.entry):
        return _number(flag, text)
    return text


def refuse_missing(name: str, got: str | None) -> NoReturn:
    """Raise InputError: a flag stands without a value, before the end or before the word `got`."""
    remedy = f"write --{name} VALUE" + (f", or --{name}={shell_word(got)} where that is the value" if got else "")
    raise InputError(f"--{name} must have a value, got {got or 'nothing'}: {remedy}")


def _choice(flag: Flag, text: str) -> str:
    if text not in flag.choices:
        listed = ", ".join(flag.choices[:-1]) + f" or {flag.choices[-1]}"
        close = difflib.get_close_matches(text.lower(), flag.choices, n=1)
        raise InputError(
            f"{flag.written} must be {listed}, got {text}" + (f": did you mean {close[0]}?" if close else "")
        )
    return text


def _whole(flag: Flag, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        number = _parsed(text)
        if number is not None and number.is_integer() and abs(number) < 2**63:
            remedy = f"write {flag.written} {int(number)}"
        else:
            remedy = f"write it in digits, as in {flag.written} 100"
        raise InputError(f"{flag.written} must be a whole number{_or_none(flag)}, got {text}: {remedy}") from None


def _number(flag: Flag, text: str) -> float:
    number = _parsed(text)
    if number is None:
        remedy = f"write it in digits, as in {flag.written} 0.5"
        if (comma := _parsed(text.replace(",", "."))) is not None:
            remedy = f"write {flag.written} {comma:g}"
        raise InputError(f"{flag.written} must be a number{_or_none(flag)}, got {text}: {remedy}")
    return number


def _parsed(text: str) -> float | None:
    """The number that stands there; None where it is none, or not finite."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _or_none(flag: Flag) -> str:
    return " or None" if flag.optional else ""
