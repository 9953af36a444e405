"""The shift: which position predicts which token, and what a model has read by then."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch

from lmhead.errors import require, require_kind
from lmhead.figures.canvas import BOX_HEIGHT, WIDTH, Canvas, box_width, canvas, text_width
from lmhead.figures.described_figure import DescribedFigure, described
from lmhead.figures.description import counted, listed, sentences, spoken
from lmhead.figures.grid import token_list, whole_numbers
from lmhead.figures.theme import Theme, ThemeName
from lmhead.labels.targets import Reason, Targets

MOST_TOKENS: Final = 12
_MARGIN: Final = 1.1  # inches, of what is written at the left


def next_token_pairs(tokens: Sequence[str], *, theme: ThemeName = "light") -> DescribedFigure:
    """Every pair of a context and the token that follows: what one row of T tokens asks of a model, T - 1 times.

    Raises:
        ArgumentError: there are fewer than two tokens, or more than can be read.
        ArgumentTypeError: they are no texts.
        InputError: matplotlib is not installed.
    """
    shown = token_list("tokens", tokens, most=MOST_TOKENS)
    require(len(shown) >= 2, "tokens", "be at least two, a context and what follows", len(shown))

    def draw(colors: Theme) -> DescribedFigure:
        return _drawn_pairs(shown, colors)

    said = [spoken(token) for token in shown]
    pairs = [f"{' '.join(said[: t + 1])}: {said[t + 1]}" for t in range(len(said) - 1)]
    told = f"{counted(len(pairs), 'pair')} of what the model has read and the token that it is asked for."
    return described(draw, theme, sentences(told, f"{listed(pairs, most=4, separator='; ')}."))


def _drawn_pairs(shown: list[str], colors: Theme) -> DescribedFigure:
    step = BOX_HEIGHT + 0.16
    widths = [box_width(token) for token in shown]
    whole = sum(widths) + 0.06 * len(widths) + 0.6
    drawn = canvas(colors, height=0.55 + step * (len(shown) - 1), width=max(WIDTH, whole + 0.6))
    left = (max(WIDTH, whole + 0.6) - whole) / 2
    drawn.text(left, 0.22, "the model has read", color=colors.muted)
    end = left + whole
    drawn.text(end, 0.22, "and is asked for", align="right", color=colors.muted)
    for t in range(len(shown) - 1):
        x, y = left, 0.45 + t * step
        for token, width in zip(shown[: t + 1], widths, strict=False):
            drawn.box(x, y, width, token)
            x += width + 0.06
        drawn.arrow((x + 0.04, y + BOX_HEIGHT / 2), (end - widths[t + 1] - 0.08, y + BOX_HEIGHT / 2))
        drawn.box(end - widths[t + 1], y, widths[t + 1], shown[t + 1], learnt=True)
    return drawn.figure


def shifted_targets(
    tokens: Sequence[str],
    *,
    ids: Sequence[int] | None = None,
    targets: Targets | None = None,
    theme: ThemeName = "light",
) -> DescribedFigure:
    """Which position predicts which token: the inputs of a row, and under each its target, or why it has none.

    Args:
        tokens: the text of each.
        ids: of the tokens, written under them.
        targets: [T] of the next token, with reasons; None: of one document, `Targets.from_labels(ids)`.

    Raises:
        ArgumentError: there are too many tokens to be read, or `ids` or `targets` have another length.
        ArgumentTypeError: the tokens are no texts, `ids` no whole numbers, or `targets` no Targets.
        InputError: matplotlib is not installed.
    """
    shown = token_list("tokens", tokens, most=MOST_TOKENS)
    numbers = list(range(len(shown))) if ids is None else whole_numbers("ids", ids)
    require(len(numbers) == len(shown), "ids", f"be as many as tokens, {len(shown)}", len(numbers))
    targets = Targets.from_labels(torch.tensor(numbers)) if targets is None else targets
    require_kind("targets", targets, Targets)
    require(targets.shape == (len(shown),), "targets", f"be [{len(shown)}], one row", list(targets.shape))
    require(targets.offset == 1, "targets", "be those of the next token, at(1)", f"at({targets.offset})")
    under = [""] * len(shown) if ids is None else [str(number) for number in numbers]
    reasons = targets.reason.tolist()

    def draw(colors: Theme) -> DescribedFigure:
        return _drawn_targets(shown, under, reasons, colors)

    return described(draw, theme, _description_of_targets(shown, under, reasons))


def _drawn_targets(shown: list[str], under: list[str], reasons: list[int], colors: Theme) -> DescribedFigure:
    columns = Columns.of([*shown, *under], count=len(shown))
    drawn = canvas(colors, height=2.4 if any(under) else 2.15, width=columns.width)
    top = position_row(drawn, shown, columns, "input", under)
    below = top + 0.5
    drawn.text(columns.left, below + BOX_HEIGHT / 2, "target of t")
    for t, reason in enumerate(reasons):
        scored = reason == int(Reason.SCORED)
        middle = columns.middle(t)
        drawn.box(
            columns.start(t), below, columns.box, shown[t + 1] if scored else "", learnt=scored, hatched=not scored
        )
        _beneath(drawn, middle, below, under[t + 1] if scored else reason_text(reason))
        if scored:
            drawn.arrow((middle, top), (middle, below))
    drawn.text(columns.left, below + BOX_HEIGHT + 0.45, _summary(reasons), color=colors.muted)
    return drawn.figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """A column for each position, right of a margin, in the middle of the page; in inches."""

    left: float  # of the margin
    step: float  # from one position to the next
    width: float  # of the whole figure

    @staticmethod
    def of(texts: Sequence[str], *, count: int) -> "Columns":
        """Columns for `count` positions, wide enough for each of the texts."""
        step = max([text_width(text, 10) for text in texts] + [0.5]) + 0.26
        whole = _MARGIN + step * count
        width = max(WIDTH, whole + 0.3)
        return Columns(left=(width - whole) / 2, step=step, width=width)

    @property
    def box(self) -> float:
        """Width of a token's box."""
        return self.step - 0.1

    def start(self, t: int) -> float:
        """Where the box of position t begins."""
        return self.left + _MARGIN + t * self.step

    def middle(self, t: int) -> float:
        """The middle of the box of position t."""
        return self.start(t) + self.box / 2


def position_row(drawn: Canvas, tokens: Sequence[str], columns: Columns, name: str, under: Sequence[str]) -> float:
    """The inputs of a row with their positions; comes back with the y of what is under them."""
    drawn.text(columns.left, 0.22, "position t", color=drawn.theme.muted)
    drawn.text(columns.left, 0.4 + BOX_HEIGHT / 2, name)
    for t, token in enumerate(tokens):
        drawn.text(columns.middle(t), 0.22, str(t), align="center", color=drawn.theme.muted)
        drawn.box(columns.start(t), 0.4, columns.box, token)
        _beneath(drawn, columns.middle(t), 0.4, under[t])
    return 0.4 + BOX_HEIGHT + (0.26 if any(under) else 0.04)


def _beneath(drawn: Canvas, middle: float, y: float, text: str) -> None:
    drawn.text(middle, y + BOX_HEIGHT + 0.14, text, align="center", color=drawn.theme.muted, size=9)


def reason_text(reason: int) -> str:
    """Why nothing is scored, in words."""
    return Reason(reason).name.lower().replace("_", " ")


def _summary(reasons: list[int]) -> str:
    scored = reasons.count(int(Reason.SCORED))
    return f"{scored} of {len(reasons)} positions are scored; from t, the token at t + 1 is predicted"


def _description_of_targets(shown: list[str], under: list[str], reasons: list[int]) -> str:
    said = [spoken(token) + (f" ({number})" if number else "") for token, number in zip(shown, under, strict=True)]
    told = [
        f"{said[t]} predicts {said[t + 1]}"
        if reason == int(Reason.SCORED)
        else f"{said[t]} nothing: {reason_text(reason)}"
        for t, reason in enumerate(reasons)
    ]
    return sentences("Under each input its target.", f"{listed(told, separator='; ')}.", f"{_summary(reasons)}.")
