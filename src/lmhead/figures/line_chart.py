"""Curves: quantities over steps or sizes, with the name of each at its end; told apart without their colours too."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lmhead.errors import ArgumentError, require, require_kind
from lmhead.figures.canvas import WIDTH, families, plain_axes
from lmhead.figures.chart_axes import (
    cut,
    label_text,
    limits,
    name_axes,
    number_of,
    numbers_of,
    require_names,
    require_words,
    ticks,
)
from lmhead.figures.described_figure import DescribedFigure, described, new_figure
from lmhead.figures.description import LONGEST_TITLE, listed, number_text, sentences, spoken
from lmhead.figures.theme import Theme, ThemeName

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

MOST_LINES: Final = 6
MOST_LEVELS: Final = 4
_HEIGHT: Final = 4.2  # inches, of the figure without a legend
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.78, 0.3, 0.2, 0.62  # inches around the axes
_LANE: Final = 2.5  # inches that the names beside the axes may take; with longer ones they are over them
_ROW: Final = 0.235  # inches, from one name to the next
_GAP: Final = 0.16  # inches, from the axes to the names
_NOTED: Final = 0.1  # of what a line spans: a point so far beyond both its ends is told of in the description
_FEW: Final = 24  # points: with so many or fewer each has a marker
_LONGEST: Final = 80  # characters of a name
_DASHES: Final[tuple[Any, ...]] = (
    "solid",
    (0, (5, 1.6)),
    (0, (1.2, 1.2)),
    (0, (6, 1.5, 1.2, 1.5)),
    (0, (10, 2)),
    (0, (3, 1.2, 1.2, 1.2, 1.2, 1.2)),
)
_MARKERS: Final = "osD^vX"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chart:
    """All that is drawn, as numbers and words."""

    lines: dict[str, tuple[list[float], list[float]]]
    levels: dict[str, float]
    x: str
    y: str
    log_x: bool
    log_y: bool


def curves(
    lines: Mapping[str, Any],
    *,
    x: str,
    y: str,
    levels: Mapping[str, float] | None = None,
    log_x: bool = False,
    log_y: bool = False,
    theme: ThemeName = "light",
) -> DescribedFigure:
    """Lines over one pair of axes: losses over steps, memory over lengths, with the name of each at its end.

    Args:
        lines: by a name, the y of each point, or a pair (xs, ys), xs ascending; lists, arrays or tensors [T]. Without
            xs the points are counted from 1. One to six.
        x, y: what the axes show, in words with the unit: "step", "loss, nats".
        levels: horizontal lines by a name: {"log V": 3.466}. At most four.
        log_x, log_y: whether an axis is logarithmic.

    Raises:
        ArgumentError: there are no lines or too many to be read, a line has no points or other numbers of xs and ys,
            its xs do not ascend, or a number is not finite or cannot be on a logarithmic axis.
        ArgumentTypeError: something is of another kind.
        InputError: matplotlib is not installed.

    Example:
        >>> figure = curves({"train": [3.2, 2.1, 1.7]}, x="step", y="loss, nats", levels={"log V": 3.466})
        >>> figure.description
        'Curves of loss, nats over step. train: from 3.2 at 1 to 1.7 at 3. Level: log V, 3.466.'
    """
    require_kind("lines", lines, Mapping, "the points of each line by its name")
    require(1 <= len(lines) <= MOST_LINES, "lines", f"be 1 to {MOST_LINES}, to be told apart", len(lines))
    require_words("x", x)
    require_words("y", y)
    if levels is not None:
        require_kind("levels", levels, Mapping, "the y of each level by its name")
    require_kind("log_x", log_x, bool)
    require_kind("log_y", log_y, bool)
    known = {} if levels is None else dict(levels)
    require(len(known) <= MOST_LEVELS, "levels", f"be at most {MOST_LEVELS}, to be told apart", len(known))
    require_names("the names of lines", lines)
    require_names("the names of levels", known)
    chart = _Chart(
        lines={name: _points(f"lines[{name!r}]", line, log_x=log_x, log_y=log_y) for name, line in lines.items()},
        levels={name: number_of(f"levels[{name!r}]", level, positive=log_y) for name, level in known.items()},
        x=x,
        y=y,
        log_x=log_x,
        log_y=log_y,
    )

    def draw(colors: Theme) -> DescribedFigure:
        return _drawn(chart, colors)

    return described(draw, theme, _description(chart))


def _points(name: str, line: object, *, log_x: bool, log_y: bool) -> tuple[list[float], list[float]]:
    """(xs, ys) of a line, however it was given."""
    pair = isinstance(line, tuple | list) and len(line) == 2 and all(_is_row(row) for row in line)
    if not pair:
        ys = numbers_of(name, line, positive=log_y)
        return [float(number) for number in range(1, len(ys) + 1)], ys
    assert isinstance(line, tuple | list)
    xs, ys = numbers_of(f"{name}, xs", line[0], positive=log_x), numbers_of(f"{name}, ys", line[1], positive=log_y)
    require(len(xs) == len(ys), name, "have as many xs as ys", f"{len(xs)} and {len(ys)}")
    falls = next((n for n in range(1, len(xs)) if xs[n] < xs[n - 1]), None)
    if falls is not None:
        raise ArgumentError(f"the xs of {name} must ascend, got {xs[falls]:g} after {xs[falls - 1]:g}: sort the points")
    return xs, ys


def _is_row(values: object) -> bool:
    return isinstance(values, Sequence) or getattr(values, "ndim", 0) == 1


def _drawn(chart: _Chart, colors: Theme) -> DescribedFigure:
    inks = (colors.learnt, colors.cost, colors.ink, colors.muted, colors.learnt, colors.cost)
    figure = new_figure(colors, height=_HEIGHT, width=WIDTH)
    axes = figure.add_axes((0.1, 0.1, 0.8, 0.8))
    plain_axes(axes, colors)
    if chart.log_x:
        axes.set_xscale("log")
    if chart.log_y:
        axes.set_yscale("log")
    numbers = [number for xs, _ in chart.lines.values() for number in xs]
    span = _horizontal(numbers, log=chart.log_x)
    axes.set_xlim(*span)
    heights = [number for _, ys in chart.lines.values() for number in ys] + list(chart.levels.values())
    reach = limits(heights, log=chart.log_y)
    axes.set_ylim(*reach)
    ticks(axes.xaxis, *span, log=chart.log_x, whole=all(number == int(number) for number in numbers))
    ticks(axes.yaxis, *reach, log=chart.log_y)
    axes.grid(color=colors.line, lw=0.5, alpha=0.6)
    for (xs, ys), ink, dashes, marker in zip(chart.lines.values(), inks, _DASHES, _MARKERS, strict=False):
        every: Any = 1 if len(xs) <= _FEW else [len(xs) - 1]
        style: dict[str, Any] = {"marker": marker, "markevery": every, "ms": 5, "clip_on": False}
        axes.plot(xs, ys, color=ink, ls=dashes, lw=2, solid_capstyle="round", zorder=3, **style)
    for level in chart.levels.values():
        axes.axhline(level, color=colors.muted, lw=1.2, ls=(0, (2, 3)), zorder=1.5)
    _place(axes, chart, inks, colors)
    return figure


def _horizontal(numbers: list[float], *, log: bool) -> tuple[float, float]:
    """(begin, end) of the x axis: from the first point to the last."""
    low, high = min(numbers), max(numbers)
    if high - low > 1e-9 * max(abs(low), abs(high)):
        return low, high
    return (low / 2, high * 2) if log else (low - (abs(low) * 0.2 or 1.0), high + (abs(high) * 0.2 or 1.0))


def _place(axes: "Axes", chart: _Chart, inks: Sequence[str], colors: Theme) -> None:
    """The axes with the names beside them, or over them where they are long."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    style: dict[str, Any] = {"size": 10, "va": "center", "family": families(mono=False), "parse_math": False}
    named = [(label_text(name, _LONGEST), ink) for name, ink in zip(chart.lines, inks, strict=False)]
    named += [
        (f"{label_text(name, _LONGEST - 12)}: {number_text(level)}", colors.muted)
        for name, level in chart.levels.items()
    ]
    texts = [figure.text(0, 0, name, color=ink, **style) for name, ink in named]
    widest = max(text.get_window_extent().width for text in texts) / figure.dpi
    over = 0.0 if widest <= _LANE else _ROW * len(texts)
    left, lane = _left(axes), _RIGHT if over else widest + _GAP + 0.12
    figure.set_figheight(_HEIGHT + over)
    width, height = WIDTH - left - lane, _HEIGHT - _TOP - _BOTTOM
    whole = _HEIGHT + over
    axes.set_position((left / WIDTH, _BOTTOM / whole, width / WIDTH, height / whole))
    name_axes(axes, colors, x=chart.x, y=chart.y, width=width, height=height)
    if over:
        _over(axes, texts, top=_BOTTOM + height + over, left=left)
    else:
        _beside(axes, texts, chart, right=left + width, height=height)


def _left(axes: "Axes") -> float:
    """Inches left of the axes: what its ticks and its words take."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    low, high = axes.get_ylim()
    labels = [tick.label1 for tick in axes.yaxis.get_major_ticks() if low <= tick.get_loc() <= high]
    figure.draw_without_rendering()
    widest = max((label.get_window_extent().width for label in labels), default=0.0) / figure.dpi
    return max(_LEFT, widest + 0.45)


def _beside(axes: "Axes", texts: Sequence["Text"], chart: _Chart, *, right: float, height: float) -> None:
    """Each name right of the axes, as near to the end of its line as the others let it, and a thread to that end."""
    from matplotlib.lines import Line2D

    figure = axes.get_figure(root=True)
    assert figure is not None
    ends = [(xs[-1], ys[-1]) for xs, ys in chart.lines.values()]
    ends += [(axes.get_xlim()[1], level) for level in chart.levels.values()]
    points = [figure.dpi_scale_trans.inverted().transform(axes.transData.transform(end)) for end in ends]
    heights = apart([float(y) for _, y in points], gap=_ROW, low=_BOTTOM, high=_BOTTOM + height)
    for text, (x, y), placed in zip(texts, points, heights, strict=True):
        text.set_position(((right + _GAP) / WIDTH, placed / _HEIGHT))
        if x > right - 0.05 and abs(placed - y) < 0.04:
            continue
        ends_of_thread = [x + 0.06, right + _GAP - 0.03], [y, placed]
        thread = Line2D(*ends_of_thread, transform=figure.dpi_scale_trans, color=text.get_color(), lw=0.7, alpha=0.8)
        figure.add_artist(thread)


def apart(heights: Sequence[float], *, gap: float, low: float, high: float) -> list[float]:
    """The heights, moved as little as keeps them `gap` apart and between `low` and `high`, in the same order.

    Example:
        >>> apart([1.0, 1.0, 3.0], gap=0.5, low=0.0, high=3.0)
        [0.75, 1.25, 3.0]
    """
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    blocks: list[tuple[float, list[int]]] = []  # (the lowest height, who is in it), gap apart in themselves
    for index in order:
        block, members = heights[index], [index]
        while blocks and blocks[-1][0] + gap * len(blocks[-1][1]) > block + 1e-9:
            members = blocks.pop()[1] + members
            middle = sum(heights[member] - gap * place for place, member in enumerate(members)) / len(members)
            block = min(max(middle, low), high - gap * (len(members) - 1))
        blocks.append((min(max(block, low), high - gap * (len(members) - 1)), members))
    placed = {member: start + gap * place for start, members in blocks for place, member in enumerate(members)}
    return [placed[index] for index in range(len(heights))]


def _over(axes: "Axes", texts: Sequence["Text"], *, top: float, left: float) -> None:
    """The names over the axes, a line each, behind a piece of the line that they name."""
    from matplotlib.lines import Line2D

    figure = axes.get_figure(root=True)
    assert figure is not None
    for row, (text, line) in enumerate(zip(texts, axes.lines, strict=False)):
        y = top - _ROW * (row + 0.5) + 0.06
        piece = Line2D([left, left + 0.5], [y, y], transform=figure.dpi_scale_trans)
        piece.update_from(line)
        piece.set(transform=figure.dpi_scale_trans, markevery=[1], clip_on=False)
        figure.add_artist(piece)
        text.set_position(((left + 0.62) / WIDTH, y / figure.get_figheight()))
        cut(text, WIDTH - left - 0.62 - 0.1)


def _extremes(xs: list[float], ys: list[float], *, log: bool) -> str:
    """Where a line is well above both its ends, or well below: a curve that rose in between is not told by its ends."""
    scale = math.log if log else float
    heights = [scale(y) for y in ys]
    ends, least = (heights[0], heights[-1]), _NOTED * (max(heights) - min(heights))
    told = ""
    for name, reach, beyond in (("highest", max, max(heights) - max(ends)), ("lowest", min, min(ends) - min(heights))):
        if beyond > least:
            place = heights.index(reach(heights))
            told += f", {name} {number_text(ys[place])} at {number_text(xs[place])}"
    return told


def _description(chart: _Chart) -> str:
    told = [
        f"{spoken(name)}: from {number_text(ys[0])} at {number_text(xs[0])} "
        f"to {number_text(ys[-1])} at {number_text(xs[-1])}{_extremes(xs, ys, log=chart.log_y)}"
        for name, (xs, ys) in chart.lines.items()
    ]
    levels = [f"{spoken(name)}, {number_text(level)}" for name, level in chart.levels.items()]
    logarithmic = [axis for axis, log in (("x", chart.log_x), ("y", chart.log_y)) if log]
    return sentences(
        f"Curves of {spoken(chart.y, LONGEST_TITLE)} over {spoken(chart.x, LONGEST_TITLE)}"
        + (f", logarithmic in {' and '.join(logarithmic)}." if logarithmic else "."),
        f"{listed(told, separator='; ')}.",
        f"{'Level' if len(levels) == 1 else 'Levels'}: {listed(levels, separator='; ')}." if levels else "",
    )
