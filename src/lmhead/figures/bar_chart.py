"""Bars: one number for each of some labels, in panels on one scale, with its value written on it."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lmhead.errors import ArgumentTypeError, require, require_kind
from lmhead.figures.canvas import WIDTH, families, plain_axes, text_width
from lmhead.figures.chart_axes import cut, label_text, name_axes, number_of, require_names, require_words, ticks
from lmhead.figures.described_figure import DescribedFigure, described, new_figure
from lmhead.figures.description import LONGEST_TITLE, listed, number_text, sentences, spoken
from lmhead.figures.theme import Theme, ThemeName

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_PANELS: Final = 4
MOST_BARS: Final = 24
_LONGEST: Final = 24  # characters of a label
_LEFT, _RIGHT, _BETWEEN = 0.85, 0.15, 0.3  # inches beside the panels, and between two
_TITLE, _AREA, _UNDER = 0.34, 1.65, 0.14  # inches over a panel, of it, and from it to its labels
_THICKEST: Final = 0.9  # inches, of a bar
_EASY: Final = 0.52  # inches from bar to bar at which panels may stand side by side
_LABEL_SIZE: Final = 10  # points
_VALUE_SIZE: Final = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chart:
    """All that is drawn, as numbers and words."""

    groups: dict[str, dict[str, float]]
    highlight: frozenset[str]
    x: str
    y: str

    @property
    def values(self) -> list[float]:
        """Those of all panels."""
        return [value for group in self.groups.values() for value in group.values()]

    @property
    def most(self) -> int:
        """Bars of the panel that has the most."""
        return max(len(group) for group in self.groups.values())


def bars(
    groups: Mapping[str, Mapping[str, float]],
    *,
    y: str,
    x: str = "",
    highlight: Collection[str] = (),
    theme: ThemeName = "light",
) -> DescribedFigure:
    """Bars with their values, up or down from 0; a panel for each group, all on one scale.

    Args:
        groups: by a panel's title, the value of each label. One to four panels, with 24 bars in all.
        y, x: what the bars' heights and their labels are, in words with the unit: "probability", "next token".
        highlight: labels whose bars have the colour of loss and a hatch; the others are blue.

    Raises:
        ArgumentError: there are no groups, a group has no bars, there are too many to be read, a value is not finite,
            or `highlight` has a label that no group has.
        ArgumentTypeError: something is of another kind.
        InputError: matplotlib is not installed.

    Example:
        >>> figure = bars({"gradient": {"cat": 0.2, "dog": -0.3, "bird": 0.1}}, y="softmax - onehot", highlight=["dog"])
        >>> figure.description
        'Bars of softmax - onehot. gradient: cat 0.2, dog -0.3, bird 0.1. Highlighted: dog.'
    """
    require_kind("groups", groups, Mapping, "the values of each panel by its title")
    require(1 <= len(groups) <= MOST_PANELS, "groups", f"be 1 to {MOST_PANELS}, to be read", len(groups))
    require_words("y", y)
    require_words("x", x)
    if not isinstance(highlight, Collection) or isinstance(highlight, str | bytes | Mapping):
        raise ArgumentTypeError(f"highlight must be a list of labels, got {type(highlight).__name__}")
    known = {title: _group(title, group) for title, group in groups.items()}
    for label in highlight:
        there = isinstance(label, str) and any(label in group for group in known.values())
        require(there, "highlight", "be labels of the groups", repr(label))
    chart = _Chart(groups=known, highlight=frozenset(highlight), x=x, y=y)
    require(len(chart.values) <= MOST_BARS, "groups", f"have at most {MOST_BARS} bars, to be read", len(chart.values))

    def draw(colors: Theme) -> DescribedFigure:
        return _drawn(chart, colors)

    return described(draw, theme, _description(chart))


def _group(title: object, group: Mapping[str, float]) -> dict[str, float]:
    require_names("the titles of groups", [title])
    require_kind(f"groups[{title!r}]", group, Mapping, "the value of each label")
    require(len(group) > 0, f"groups[{title!r}]", "have a bar", "none")
    require_names(f"the labels of groups[{title!r}]", group)
    return {label: number_of(f"groups[{title!r}][{label!r}]", value) for label, value in group.items()}


def _drawn(chart: _Chart, colors: Theme) -> DescribedFigure:
    columns = _columns(chart)
    rows = math.ceil(len(chart.groups) / columns)
    width = (WIDTH - _LEFT - _RIGHT - _BETWEEN * (columns - 1)) / columns
    labels = [label_text(label, _LONGEST) for group in chart.groups.values() for label in group]
    longest = max(text_width(label, _LABEL_SIZE) for label in labels)
    upright = longest > width / chart.most - 0.08
    under = _UNDER + (longest if upright else 0.17)
    last = 0.33 if chart.x else 0.1
    height = rows * (_TITLE + _AREA + under) + last
    figure = new_figure(colors, height=height, width=WIDTH)
    low, high = _reach(chart.values, upright=_values_upright(chart, width))
    for index, (title, group) in enumerate(chart.groups.items()):
        row, column = divmod(index, columns)
        left, top = _LEFT + column * (width + _BETWEEN), row * (_TITLE + _AREA + under) + _TITLE
        axes = figure.add_axes((left / WIDTH, 1 - (top + _AREA) / height, width / WIDTH, _AREA / height))
        plain_axes(axes, colors)
        axes.set_ylim(low, high)
        axes.set_xlim(-0.5, chart.most - 0.5)
        ticks(axes.yaxis, low, high, log=False, most=5)
        below = index + columns >= len(chart.groups)
        name_axes(axes, colors, x=chart.x if below else "", y=chart.y if column == 0 else "", width=width, height=_AREA)
        if column > 0:
            axes.tick_params(axis="y", labelleft=False)
        _panel(axes, title, group, chart, colors, upright=upright, width=width)
    return figure


def _columns(chart: _Chart) -> int:
    """Panels beside one another: as many as leave a bar and a title room."""
    titles = max(text_width(label_text(title, 60), 11) for title in chart.groups)
    count = len(chart.groups)
    for columns in (count, 2):
        width = (WIDTH - _LEFT - _RIGHT - _BETWEEN * (columns - 1)) / columns
        even = count % columns == 0
        if 1 < columns <= count and even and width / chart.most >= _EASY and titles <= width:
            return columns
    return 1


def _panel(
    axes: "Axes", title: str, group: Mapping[str, float], chart: _Chart, colors: Theme, *, upright: bool, width: float
) -> None:
    plain: dict[str, Any] = {"family": families(mono=False), "parse_math": False}
    cut(axes.set_title(label_text(title, 80), loc="left", size=11, color=colors.ink, **plain), width)
    low, high = axes.get_ylim()
    if low < 0:
        axes.axhline(0, color=colors.muted, lw=0.8, zorder=2.5)
    lengthwise = _values_upright(chart, width)
    step = 10 ** -_decimals(chart.values)
    thick = min(0.74, _THICKEST * chart.most / width)
    for index, (label, value) in enumerate(group.items()):
        lit = label in chart.highlight
        (bar,) = axes.bar(index, value, thick, color=colors.cost if lit else colors.learnt, lw=0)
        if lit:
            bar.set(hatch="///", edgecolor=colors.background)
        axes.text(
            index,
            value + (high - low) * (0.02 if value >= 0 else -0.02),
            _value_text(value, step),
            ha="center",
            va="bottom" if value >= 0 else "top",
            size=_VALUE_SIZE,
            color=colors.ink,
            weight="bold" if lit else "normal",
            rotation=90 if lengthwise else 0,
            **plain,
        )
    names = [label_text(label, _LONGEST) for label in group]
    axes.set_xticks(range(len(names)), labels=names, family=families(mono=True), parse_math=False, size=_LABEL_SIZE)
    axes.tick_params(axis="x", length=0)
    for tick, label in zip(axes.get_xticklabels(), group, strict=True):
        tick.set(color=colors.ink, weight="bold" if label in chart.highlight else "normal")
        if upright:
            tick.set(rotation=90)


def _reach(values: Sequence[float], *, upright: bool) -> tuple[float, float]:
    """(lowest, highest) of the scale: 0, the bars, and room for what is written on them."""
    low, high = min(0.0, *values, 0.0), max(0.0, *values, 0.0)
    room = (high - low or 1.0) * (0.55 if upright else 0.15)
    return (low - room if low < 0 else 0.0), (high + room if high > 0 or low == 0 else room * 0.2)


def _decimals(values: Sequence[float]) -> int:
    """Digits behind the point: as many as all values have, at most so many that the largest has three digits."""
    largest = max(abs(value) for value in values)
    most = 0 if largest == 0 else min(max(2 - math.floor(math.log10(largest)), 0), 6)
    exact = (digits for digits in range(most) if all(abs(round(v, digits) - v) <= 1e-6 * largest for v in values))
    return next(exact, most)


def _value_text(value: float, step: float) -> str:
    """A value in few characters: with the digits of all, or by itself where it would be written as 0, or is 0."""
    if value == 0:
        return "0"
    if abs(value) < step / 2 or abs(value) >= 1e6:
        return f"{value:.2g}".replace("e-0", "e-").replace("e+", "e")
    return f"{value:,.{max(-round(math.log10(step)), 0)}f}"


def _values_upright(chart: _Chart, width: float) -> bool:
    """Whether the widest value has no room across its bar."""
    step = 10 ** -_decimals(chart.values)
    return max(text_width(_value_text(value, step), _VALUE_SIZE) for value in chart.values) > width / chart.most + 0.02


def _description(chart: _Chart) -> str:
    most = max(2, 12 // len(chart.groups))
    told = []
    for title, group in chart.groups.items():
        said = [f"{spoken(label)} {number_text(value)}" for label, value in group.items()]
        told.append(f"{spoken(title, LONGEST_TITLE)}: {listed(said, most=most)}.")
    lit = [spoken(label) for label in sorted(chart.highlight)]
    over = f" over {spoken(chart.x, LONGEST_TITLE)}" if chart.x else ""
    return sentences(
        f"Bars of {spoken(chart.y, LONGEST_TITLE)}{over}.", *told, f"Highlighted: {listed(lit)}." if lit else ""
    )
