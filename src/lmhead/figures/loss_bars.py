"""Loss of each token as bars: where in an answer the loss comes from, and which tokens are not asked for at all."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from lmhead.errors import ArgumentTypeError, require, require_kind
from lmhead.figures.canvas import WIDTH, families, plain_axes, text_width
from lmhead.figures.chart_axes import real_number
from lmhead.figures.described_figure import DescribedFigure, described, new_figure
from lmhead.figures.description import LONGEST_TITLE, counted, sentences, shortened, spoken
from lmhead.figures.grid import token_list
from lmhead.figures.theme import Theme, ThemeName
from lmhead.shown import shown_line, shown_spaces

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_TOKENS: Final = 24
_LEFT, _RIGHT = 0.085, 0.98  # of the axes, as shares of the width
_AREA: Final = 1.48  # inches, the height of a panel
_SIZE: Final = 10  # points, of a token
_LONGEST: Final = 24  # characters of one
Losses = Sequence[tuple[str, float | None]]


def token_losses(answers: Mapping[str, Losses], *, theme: ThemeName = "light") -> DescribedFigure:
    """The loss of each token in nats, as bars; a panel for each answer, all on one scale.

    Args:
        answers: by a title, the tokens of a text, each with its nll, or None where it is not scored.

    Raises:
        ArgumentError: there is no answer, a text has too many tokens to be read, or a loss is negative or not finite.
        ArgumentTypeError: an argument is of the wrong kind.
        InputError: matplotlib is not installed.

    Example:
        >>> figure = token_losses({"good": [("Q", None), ("Paris", 0.36)], "bad": [("Q", None), ("Rome", 2.3)]})
        >>> [axes.get_title(loc="left") for axes in figure.axes]
        ['good: 0.36 nats over 1 scored token', 'bad: 2.30 nats over 1 scored token']
    """
    require_kind("answers", answers, Mapping, "tokens with their losses, by a title")
    require(1 <= len(answers) <= 4, "answers", "be one to four", len(answers))
    kept = {title: _kept(title, losses) for title, losses in answers.items()}

    def draw(colors: Theme) -> DescribedFigure:
        return _drawn(kept, colors)

    return described(draw, theme, _description(kept))


def _kept(title: str, losses: Losses) -> Losses:
    """The tokens with their losses as plain numbers."""
    require_kind("the titles of answers", title, str)
    name = f"answers[{title!r}]"
    row = isinstance(losses, Sequence) and not isinstance(losses, str)
    if not row or not all(isinstance(each, tuple | list) and len(each) == 2 for each in losses):
        raise ArgumentTypeError(f"{name} must be a list of pairs (token, nats or None), got {type(losses).__name__}")
    token_list(f"the tokens of {title!r}", [token for token, _ in losses], most=MOST_TOKENS)
    numbers = [
        None if nll is None else real_number(f"the loss of {token!r} in {title!r}", nll) for token, nll in losses
    ]
    for (token, _), nll in zip(losses, numbers, strict=True):
        known = nll is None or (math.isfinite(nll) and nll >= 0)
        require(known, f"the loss of {token!r} in {title!r}", "be a number of nats from 0 up", nll)
    return [(token, nll) for (token, _), nll in zip(losses, numbers, strict=True)]


def _drawn(answers: Mapping[str, Losses], colors: Theme) -> DescribedFigure:
    labels = {title: [_label(token) for token, _ in losses] for title, losses in answers.items()}
    upright = any(_touch(names) for names in labels.values())
    longest = max(text_width(name, _SIZE) for names in labels.values() for name in names)
    below, between = (longest + 0.25, longest + 0.6) if upright else (0.45, 0.8)  # inches
    count = len(answers)
    figure = new_figure(colors, height=0.33 + count * _AREA + (count - 1) * between + below, width=WIDTH)
    highest = max([0.1, *(nll for losses in answers.values() for _, nll in losses if nll is not None)])
    panels = figure.subplots(len(answers), 1, squeeze=False, gridspec_kw={"hspace": between / _AREA})[:, 0]
    figure.subplots_adjust(
        left=_LEFT, right=_RIGHT, top=1 - 0.33 / figure.get_figheight(), bottom=below / figure.get_figheight()
    )
    for axes, (title, losses) in zip(panels, answers.items(), strict=True):
        _panel(axes, title, losses, highest, colors, labels[title], upright=upright)
    return figure


def _label(token: str) -> str:
    return shortened(shown_spaces(token), _LONGEST)


def _touch(labels: Sequence[str]) -> bool:
    """Whether two neighbours have no room beside each other under their bars."""
    step = WIDTH * (_RIGHT - _LEFT) / (len(labels) + 0.2)
    widths = [text_width(label, _SIZE) for label in labels]
    return any((one + other) / 2 + 0.06 > step for one, other in pairwise(widths))


def _panel(
    axes: "Axes", title: str, losses: Losses, highest: float, colors: Theme, tokens: list[str], *, upright: bool
) -> None:
    plain_axes(axes, colors)
    axes.set_ylim(0, highest * 1.28)
    axes.set_xlim(-0.6, len(tokens) - 0.4)
    axes.set_ylabel("nats")
    for t, (_, nll) in enumerate(losses):
        if nll is None:
            continue
        axes.bar(t, nll, 0.8, color=colors.cost)
        axes.text(t, nll + highest * 0.03, f"{nll:.2f}", ha="center", va="bottom", size=9.5, color=colors.ink)
        axes.text(
            t, nll + highest * 0.15, f"p {math.exp(-nll):.2g}", ha="center", va="bottom", size=8, color=colors.muted
        )
    for first, last in _unscored_runs(losses):
        _cover(axes, first, last, colors)
    axes.set_xticks(range(len(tokens)), labels=tokens, family=families(mono=True), parse_math=False, size=_SIZE)
    for label, (_, nll) in zip(axes.get_xticklabels(), losses, strict=True):
        label.set_color(colors.muted if nll is None else colors.ink)
        label.set_rotation(90 if upright else 0)
    told = f"{shown_line(title)}: {_mean(losses)}"
    axes.set_title(told, loc="left", size=11, color=colors.ink, family=families(mono=False), parse_math=False)


def _unscored_runs(losses: Losses) -> list[tuple[int, int]]:
    """(first, last) of every run of tokens that are not scored."""
    runs: list[tuple[int, int]] = []
    for t, (_, nll) in enumerate(losses):
        if nll is None and runs and runs[-1][1] == t - 1:
            runs[-1] = (runs[-1][0], t)
        elif nll is None:
            runs.append((t, t))
    return runs


def _cover(axes: "Axes", first: int, last: int, colors: Theme) -> None:
    """A hatch over tokens that are not scored, which says so: no bar is not a loss of 0."""
    axes.axvspan(first - 0.45, last + 0.45, ymax=0.92, fc=colors.background, ec=colors.line, hatch="////", lw=0)
    ground = {"fc": colors.background, "ec": "none", "pad": 3}
    words = "not scored" if last > first else "not\nscored"
    axes.text(
        (first + last) / 2,
        axes.get_ylim()[1] * 0.46,
        words,
        ha="center",
        va="center",
        size=9,
        color=colors.muted,
        bbox=ground,
    )


def _mean(losses: Losses) -> str:
    scored = [nll for _, nll in losses if nll is not None]
    return (
        f"{sum(scored) / len(scored):.2f} nats over {counted(len(scored), 'scored token')}"
        if scored
        else "no token is scored"
    )


def _description(answers: Mapping[str, Losses]) -> str:
    told = []
    for title, losses in answers.items():
        scored = [(nll, token) for token, nll in losses if nll is not None]
        dearest, token = max(scored, default=(0.0, ""))
        most = f", the most for {spoken(token)}, {dearest:.2f}" if scored else ""
        told.append(f"{spoken(title, LONGEST_TITLE)}: {_mean(losses)}{most}.")
    return sentences("Bars of the loss of each token in nats.", *told)
