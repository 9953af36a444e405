"""Axes of a chart with numbers: which numbers can be drawn, where an axis begins and ends, its ticks."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from lmhead.errors import ArgumentError, ArgumentTypeError, require
from lmhead.figures.canvas import families
from lmhead.figures.description import shortened
from lmhead.figures.theme import Theme
from lmhead.shown import shown_line, shown_spaces

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.text import Text

_SMALLEST, _LARGEST = 1e-100, 1e100  # of a magnitude: beyond them matplotlib's arithmetic overflows
_NEAR_ZERO: Final = 0.4  # of the largest: an axis whose smallest number is below that begins at 0
_LONGEST_AXIS: Final = 80  # characters of an axis' words
_DECADES: Final = 3.0  # of a logarithmic axis: above that only whole ones have a tick


def numbers_of(name: str, values: object, *, positive: bool = False) -> list[float]:
    """A row of numbers as floats: of a list, a tuple, an array or a tensor [T].

    Raises:
        ArgumentTypeError: they are no row of numbers.
        ArgumentError: there are none, or one cannot be drawn.
    """
    tolist = getattr(values, "tolist", None)
    row = tolist() if callable(tolist) else list(values) if isinstance(values, Sequence) else None
    if not isinstance(row, list) or isinstance(values, str | bytes):
        raise ArgumentTypeError(f"{name} must be a list of numbers, got {type(values).__name__}")
    require(len(row) > 0, name, "hold a number", "none")
    return [number_of(f"{name}[{position}]", value, positive=positive) for position, value in enumerate(row)]


def number_of(name: str, value: object, *, positive: bool = False) -> float:
    """A number that can be drawn, as a float; of a tensor of one number too.

    Raises:
        ArgumentTypeError: it is no number.
        ArgumentError: it is NaN, infinite or too large, or not above 0 where it has to be.
    """
    number = real_number(name, value)
    if isinstance(number, int) and abs(number) > _LARGEST:
        number = math.inf  # nobody wants to read its digits
    if not math.isfinite(number):
        raise ArgumentError(f"{name} must be finite, got {number}: leave it out, and say in words what is missing")
    drawable = number == 0 or _SMALLEST <= abs(number) <= _LARGEST
    require(drawable, name, f"be 0 or from {_SMALLEST:g} to {_LARGEST:g} in magnitude, to be drawn", number)
    require(number > 0 or not positive, name, "be above 0 on a logarithmic axis", number)
    return float(number)


def real_number(name: str, value: object) -> int | float:
    """A number, whatever its size; of a tensor of one number too.

    Raises:
        ArgumentTypeError: it is none.
    """
    item = getattr(value, "item", None)
    number = item() if callable(item) and getattr(value, "ndim", 1) == 0 else value
    if not isinstance(number, int | float):
        raise ArgumentTypeError(f"{name} must be a number, got {type(value).__name__}")
    return number


def limits(numbers: Sequence[float], *, log: bool) -> tuple[float, float]:
    """(begin, end) of a vertical axis on which all numbers are seen; a linear one begins at 0 where that is near."""
    low, high = min(numbers), max(numbers)
    if log:
        factor = (high / low) ** 0.07 if high > low * 1.01 else 2.0
        return low / factor, high * factor
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        room = abs(high) * 0.2 or 1.0
        return low - room, high + room
    room = (high - low) * 0.07
    return (0.0 if 0 <= low <= _NEAR_ZERO * high else low - room), high + room


def ticks(axis: "Axis", first: float, last: float, *, log: bool, whole: bool = False, most: int = 7) -> None:
    """Ticks of an axis from `first` to `last`: plain numbers; thousands and millions by k and M.

    Args:
        whole: the axis has whole numbers alone.
        most: ticks at most.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    if not log:
        axis.set_major_locator(MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10], integer=whole))
    else:
        wide = math.log10(last / first) > _DECADES
        axis.set_major_locator(LogLocator(base=10, subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=8))
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())

    def text(value: float, position: int | None) -> str:
        return tick_text(value, _digits(axis.get_majorticklocs().tolist()))

    axis.set_major_formatter(FuncFormatter(text))


def _digits(numbers: Sequence[float]) -> int:
    """As many as tell the ticks of an axis apart, six or more: 1.000002M and 1.000004M."""
    apart = (n for n in range(6, 17) if len({tick_text(number, n) for number in numbers}) == len(set(numbers)))
    return next(apart, 17)


def tick_text(value: float, digits: int = 6) -> str:
    """A round number in few characters.

    Example:
        >>> [tick_text(value) for value in (0.25, 1500, 20_000, 3e6, -2e-7)]
        ['0.25', '1500', '20k', '3M', '-2e-07']
    """
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if unit <= abs(value) < unit * 1000:
            return f"{value / (1000 if name == 'k' else unit):.{digits}g}{name}"
    return f"{0.0 if abs(value) < 1e-99 else value:.{digits}g}"


def name_axes(axes: "Axes", theme: Theme, *, x: str, y: str, width: float, height: float) -> None:
    """What the axes show, in words cut to their width and height in inches; a `$` begins no formula."""
    for axis, words, room in ((axes.xaxis, x, width), (axes.yaxis, y, height)):
        style: dict[str, Any] = {"family": families(mono=False), "parse_math": False, "color": theme.muted}
        axis.set_label_text(shortened(shown_line(words), _LONGEST_AXIS), size=10, **style)
        cut(axis.label, room)


def cut(text: "Text", room: float) -> None:
    """Cut a text until it takes at most so many inches lengthwise."""
    figure = text.get_figure(root=True)
    assert figure is not None
    while len(words := text.get_text()) > 1:
        taken = max(text.get_window_extent().size) / figure.dpi
        if taken <= room:
            return
        text.set_text(shortened(words, max(min(int(len(words) * room / taken), len(words) - 1), 1)))


def label_text(text: str, longest: int) -> str:
    """A label as a chart shows it: on one line, cut to `longest`; spaces at its ends are seen, as tokens have them.

    Example:
        >>> label_text(" New York", 20)
        '·New York'
    """
    inner = text.strip()
    start = len(text) - len(text.lstrip())
    before, after = (text, "") if not inner else (text[:start], text[start + len(inner) :])
    return shortened(shown_spaces(before) + shown_line(inner) + shown_spaces(after), longest)


def require_names(what: str, named: Iterable[object]) -> None:
    """Raise ArgumentTypeError unless each name is text; `what` says whose they are: "the names of lines"."""
    for name in named:
        if not isinstance(name, str):
            raise ArgumentTypeError(f"{what} must be str, got {type(name).__name__}")


def require_words(name: str, value: object) -> None:
    """Raise ArgumentTypeError unless `value` is text."""
    if not isinstance(value, str):
        raise ArgumentTypeError(f"{name} must be a str, the words of an axis, got {type(value).__name__}")
