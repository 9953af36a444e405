"""Budget of a render: steps, characters, processor time; and the operations that would exceed it at a stroke.

A loop is counted pass by pass. But one expression can make a gigabyte (`'a' * 10**9`, `x | center(10**9)`,
`'%999999999d' % 1`), and forty can (`x ~ x`): every operation that makes a text or a list longer than what went in is
asked for its size first, and what it makes is charged.
"""

import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from jinja2.exceptions import SecurityError

MAX_STEPS: Final = 3_000_000  # passes through loops and macros in a render; a thousand messages, quadratic, take half
MAX_CHARACTERS: Final = 50_000_000  # of one text, and items of one list
MAX_SECONDS: Final = 10.0  # of this thread's processor time in one render; a render takes milliseconds
_MAX_MADE: Final = 300_000_000  # characters and items made in one render, and as many more as the conversation allows
_BRIEF: Final = 1 / 30  # of what a render may take by itself, where it is to be brief
_STEPS_PER_CHARACTER: Final = 100  # further ones, as with the next two: some templates loop over every character
_SECONDS_PER_CHARACTER: Final = 20e-6
_MADE_PER_CHARACTER: Final = 4_000  # a template that adds turn to turn makes the whole anew for each of its pieces
_MAX_REPEAT: Final = 1_000_000
_MAX_WIDTH: Final = 10_000
_MAX_BITS: Final = 10_000  # of an integer
_CLOCK: Final = 8  # steps between two looks at the clock
_SEQUENCES: Final = (str, list, tuple)
_HOLDERS: Final = (dict, list, tuple)
_SIZED: Final = (str, list, tuple, dict, range)

# Filters whose result is a text as long as everything in the value, and by how much longer escapes can make it.
_WRITES: Final = {
    **dict.fromkeys(("list", "string", "escape", "e", "forceescape", "urlencode", "urlize", "tojson", "xmlattr"), 6),
    **dict.fromkeys(("upper", "lower", "title", "capitalize", "trim", "striptags", "wordwrap", "sort", "unique"), 1),
    "pprint": 100,  # slow
}
_TAKES_WIDTH: Final = frozenset({"center", "indent", "slice", "batch", "tojson", "wordwrap", "urlize"})
_GROWS_BY_WIDTH: Final = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs"})
_WIDE: Final = re.compile(r"\d{5,}|\*")
_NESTED: Final = re.compile(r"\{[^{}]*:[^{}]*\{")


class PatienceError(Exception):
    """A render that was to be brief takes long: by itself no reason to refuse a row."""


class _Asked(threading.local):
    """Whether the renders of this thread are to be brief."""

    brief = False


_asked = _Asked()


@contextmanager
def briefly() -> Iterator[None]:
    """Renders inside end with a PatienceError at a thirtieth of what they may take; what grows with the text stays."""
    before, _asked.brief = _asked.brief, True
    try:
        yield
    finally:
        _asked.brief = before


class Budgets(threading.local):
    """One budget a thread."""

    def __init__(self) -> None:
        self.own = Budget()


class Budget:
    """What the render that runs in this thread has used so far."""

    __slots__ = ("error", "made", "most_made", "most_steps", "seconds", "steps", "until", "until_by_wall")

    def __init__(self) -> None:
        self.begin(0)

    def begin(self, characters: int) -> None:
        """A new render, of a conversation of so many characters."""
        self.steps = 0
        self.made = 0
        share = _BRIEF if _asked.brief else 1
        self.error: type[Exception] = PatienceError if _asked.brief else SecurityError
        self.most_made = int(share * _MAX_MADE) + _MADE_PER_CHARACTER * characters
        self.most_steps = int(share * MAX_STEPS) + _STEPS_PER_CHARACTER * characters
        self.seconds = share * MAX_SECONDS + _SECONDS_PER_CHARACTER * characters
        self.until = time.thread_time() + self.seconds
        self.until_by_wall = time.perf_counter() + self.seconds

    def step(self, count: int = 1) -> None:
        """Charge passes through a loop or a macro, or what is as long."""
        before = self.steps // _CLOCK
        self.steps += count
        if self.steps > self.most_steps:
            raise self.error(f"the template's loops took more than {self.most_steps:,} steps")
        if self.steps // _CLOCK != before and self._late():
            raise self.error(f"the template took more than {self.seconds:g} seconds")

    def _late(self) -> bool:
        """Whether the thread's own time is up; looking at the wall costs a tenth of asking for that."""
        return time.perf_counter() > self.until_by_wall and time.thread_time() > self.until

    def make(self, size: int) -> None:
        """Charge a text or a list of `size`, before it is made."""
        self.made += size
        if self.made <= MAX_CHARACTERS:  # so is `size`
            return
        if size > MAX_CHARACTERS:
            raise SecurityError(
                f"the template made a text or a list of more than {MAX_CHARACTERS:,} characters or items"
            )
        if self.made > self.most_made:
            raise self.error(f"the template made texts and lists of more than {self.most_made:,} characters and items")


def charge_operator(budget: Budget, operator: str, left: object, right: object) -> None:
    """Before `left operator right` is computed: `+`, `*`, `**` or `%`."""
    if isinstance(left, int) and isinstance(right, int):
        _check_integers(operator, left, right)
    elif operator == "+" and isinstance(left, _SEQUENCES) and isinstance(right, _SEQUENCES):
        budget.make(len(left) + len(right))
    elif operator == "*":
        for sequence, times in ((left, right), (right, left)):
            if isinstance(sequence, _SEQUENCES) and isinstance(times, int):
                if len(sequence) * times > _MAX_REPEAT:
                    raise SecurityError(f"a product of more than {_MAX_REPEAT:,} characters or items")
                budget.make(len(sequence) * max(times, 0))
    elif operator == "%" and isinstance(left, str):
        _charge_format(budget, left, [right])


def charge_filter(budget: Budget, name: str, value: object, arguments: Sequence[object]) -> None:
    """Before a filter is applied to `value`."""
    size = len(value) if isinstance(value, _SIZED) else 0
    budget.step(1 + size // 10_000)
    if name in _TAKES_WIDTH:
        _check_widths(arguments)
    if name == "replace":
        budget.make(_replaced(str(value), arguments))
    elif name == "indent":
        budget.make(_indented(str(value), arguments))
    elif name == "join":
        budget.make(weight(value) + max([0, *map(weight, arguments)]) * size)
    elif name == "format" and isinstance(value, str):
        _charge_format(budget, value, arguments)
    elif name in _WRITES:
        budget.make(_WRITES[name] * weight(value))


def charge_method(budget: Budget, text: str, name: str, arguments: Sequence[Any], named: dict[str, Any]) -> None:
    """Before a method of a string is called."""
    if name in _GROWS_BY_WIDTH:
        _check_widths([*arguments, *named.values()])
        budget.make(len(text) + text.count("\t") * (_MAX_WIDTH if name == "expandtabs" else 0))
    elif name == "replace":
        budget.make(_replaced(text, [*arguments, *named.values()]))
    elif name == "join":
        for items in arguments:
            budget.make(weight(items) + len(text) * (len(items) if isinstance(items, _SEQUENCES) else 0))
    elif name in ("format", "format_map"):
        _charge_format(budget, text, [*arguments, *named.values()])
    else:
        budget.step(1 + len(text) // 10_000)


def weight(value: object) -> int:
    """Characters and items of a value, each counted as often as writing it would write it.

    A list that holds one list twice, and is held twice, doubles without taking memory, until it is written.
    """
    return _weight(value, {})


def check_weight(value: object) -> None:
    """A list, tuple or dictionary that a template makes."""
    if weight(value) > MAX_CHARACTERS:
        raise SecurityError(f"the template made a list that holds more than {MAX_CHARACTERS:,} characters and items")


def _weight(value: object, known: dict[int, int]) -> int:
    if isinstance(value, str):
        return 1 + len(value)
    if not isinstance(value, _HOLDERS):
        return 1
    if id(value) not in known:
        items = value.values() if isinstance(value, dict) else value
        keys = sum(len(key) for key in value if isinstance(key, str)) if isinstance(value, dict) else 0
        known[id(value)] = 1 + keys + sum(_weight(item, known) for item in items)
    return known[id(value)]


def _check_integers(operator: str, left: int, right: int) -> None:
    if operator == "**" and left.bit_length() * abs(right) > _MAX_BITS:
        raise SecurityError(f"a power of more than {_MAX_BITS:,} bits")
    if operator == "*" and left.bit_length() + right.bit_length() > _MAX_BITS:
        raise SecurityError(f"a product of more than {_MAX_BITS:,} bits")


def _check_widths(arguments: Sequence[object]) -> None:
    if any(isinstance(argument, int) and argument > _MAX_WIDTH for argument in arguments):
        raise SecurityError(f"a width of more than {_MAX_WIDTH:,}")
    if any(isinstance(argument, str) and len(argument) > _MAX_WIDTH for argument in arguments):
        raise SecurityError(f"a filling of more than {_MAX_WIDTH:,} characters")


def _charge_format(budget: Budget, text: str, arguments: Sequence[object]) -> None:
    """`%` and `format`: no width of five digits or more, none that an argument gives, and no huge whole."""
    if _WIDE.search(text) or _NESTED.search(text):
        raise SecurityError("a format with a width of five digits or more, or with one that an argument gives")
    fields = text.count("%") + text.count("{")
    budget.make(len(text) + fields * sum(map(weight, arguments)))


def _replaced(text: str, arguments: Sequence[Any]) -> int:
    old, new = [*map(str, arguments), "", ""][:2]
    return len(text) + text.count(old) * len(new)


def _indented(text: str, arguments: Sequence[Any]) -> int:
    widths = [len(argument) if isinstance(argument, str) else argument for argument in arguments]
    width = max([4, *(width for width in widths if isinstance(width, int))])
    return len(text) + (text.count("\n") + 1) * width
