"""-log p, the loss of one token: nothing for a certain one, ln 2 more for each halving of its probability."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from lmhead.errors import require, require_kind
from lmhead.figures.canvas import WIDTH, families, plain_axes
from lmhead.figures.chart_axes import real_number
from lmhead.figures.described_figure import DescribedFigure, described, new_figure
from lmhead.figures.description import listed, sentences, spoken
from lmhead.figures.theme import Theme, ThemeName
from lmhead.shown import shown_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SMALLEST: Final = 0.006  # probability at the curve's left end, unless a mark lies further
_MARKS: Final = {"likely": 0.7, "unlikely": 0.1}


def nll_curve(marks: Mapping[str, float] = _MARKS, *, theme: ThemeName = "light") -> DescribedFigure:
    """The curve of the negative log-likelihood -log p in nats over the probability p, with some tokens marked on it.

    Args:
        marks: the probability that a model gives to a token, by what is to be said of it; else 0.7 and 0.1.

    Raises:
        ArgumentError: a probability is not in (0, 1].
        ArgumentTypeError: an argument is of the wrong kind.
        InputError: matplotlib is not installed.

    Example:
        >>> figure = nll_curve({"dog": 0.7, "cat": 0.1})
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['dog: p = 0.7 costs 0.3567', 'cat: p = 0.1 costs 2.3026']
    """
    require_kind("marks", marks, Mapping, "the probability of each token by its name")
    marked = {}
    for name, given in marks.items():
        require_kind("the names of marks", name, str)
        probability = float(real_number(f"marks[{name!r}]", given))
        require(0 < probability <= 1, f"marks[{name!r}]", "be a probability in (0, 1]", probability)
        marked[name] = probability

    def draw(colors: Theme) -> DescribedFigure:
        return _drawn(marked, colors)

    return described(draw, theme, _description(marked))


def _drawn(marks: Mapping[str, float], colors: Theme) -> DescribedFigure:
    figure = new_figure(colors, height=4.2, width=WIDTH)
    axes = figure.add_axes((0.085, 0.14, 0.885, 0.8))
    plain_axes(axes, colors)
    smallest = min([_SMALLEST, *(probability / 1.5 for probability in marks.values())])
    probabilities = [smallest ** (1 - step / 400) for step in range(401)]
    axes.plot(probabilities, [-math.log(p) for p in probabilities], color=colors.learnt, lw=2.5)
    axes.set_xlim(0, 1.02)
    axes.set_xticks([step / 5 for step in range(6)])
    axes.set_ylim(0, -math.log(smallest))
    axes.set_xlabel("p, the probability that the model gives to the token that came")
    axes.set_ylabel("loss = -log p, nats")
    axes.grid(color=colors.line, lw=0.5, alpha=0.6)
    _mark(axes, marks, colors)
    return figure


def _description(marks: Mapping[str, float]) -> str:
    costs = [f"{spoken(name)}, p = {p:g}, costs {0.0 - math.log(p):.4f} nats" for name, p in marks.items()]
    return sentences(
        "Curve of the loss of one token, -log p in nats, over the probability p that the model gave it.",
        "It has no top at p = 0 and is 0 at p = 1.",
        f"Marked: {listed(costs, most=4, separator='; ')}." if costs else "",
    )


def _mark(axes: "Axes", marks: Mapping[str, float], colors: Theme) -> None:
    """A point on the curve for each, and its words to the right of it, apart from one another."""
    gap = axes.get_ylim()[1] / 14
    lowest = -gap
    written = {}
    for name, probability in sorted(marks.items(), key=lambda mark: -mark[1]):  # from the cheapest up
        lowest = max(-math.log(probability) + gap * 0.6, lowest + gap)
        written[name] = lowest
    for name, probability in marks.items():
        nll = 0.0 - math.log(probability)  # 0, not -0
        left = probability > 0.6
        axes.plot([probability], [nll], "o", color=colors.cost, ms=8, clip_on=False, zorder=3)
        axes.annotate(
            f"{shown_line(name)}: p = {probability:g} costs {nll:.4f}",
            xy=(probability, nll),
            xytext=(probability + (0.0 if left else 0.035), written[name] + (gap if left else 0.0)),
            ha="center" if left else "left",
            va="center",
            color=colors.ink,
            size=10.5,
            family=families(mono=False),
            arrowprops={"arrowstyle": "-", "color": colors.muted, "lw": 0.8, "shrinkB": 4},
            parse_math=False,
        )
