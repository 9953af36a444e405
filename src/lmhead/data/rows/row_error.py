"""The error of a row that breaks its format: place, name, rule, what it got, remedy."""

import difflib
import re
from collections.abc import Iterable

from lmhead.data.rows.row import Place
from lmhead.errors import InputError

_SURROGATES = re.compile("[\ud800-\udfff]")


def broken(place: Place, name: str, rule: str, got: str, remedy: str = "") -> InputError:
    """InputError "`place`: `name` must `rule`, got `got`: `remedy`"."""
    return InputError(f"{place}: {name} must {rule}, got {got}" + (f": {remedy}" if remedy else ""))


def listed(names: Iterable[object]) -> str:
    """Names in one line: columns are whatever somebody called them."""
    return one_line(", ".join(map(str, names)))


def one_line(text: object) -> str:
    """A text in one line that any terminal prints."""
    return " ".join(_SURROGATES.sub("\ufffd", str(text)).split())


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """The known name that is nearest to a misspelt one, in any case of its letters."""
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.75)
    return near[0] if near else None
