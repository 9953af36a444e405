"""Multi-token prediction: what each depth has to predict from each position, further ahead and with fewer to score."""

from collections.abc import Sequence
from typing import Final

import torch

from lmhead.errors import require
from lmhead.figures.canvas import BOX_HEIGHT, canvas
from lmhead.figures.described_figure import DescribedFigure, described
from lmhead.figures.description import counted, listed, sentences, spoken
from lmhead.figures.grid import token_list, whole_numbers
from lmhead.figures.shift import MOST_TOKENS, Columns, position_row
from lmhead.figures.theme import Theme, ThemeName
from lmhead.labels.targets import Reason, Targets
from lmhead.ops.checks import require_sizes

_STEP: Final = BOX_HEIGHT + 0.18
_MOST_DEPTHS: Final = 6


def mtp_offsets(
    tokens: Sequence[str], *, mtp_depth: int = 2, document: Sequence[int] | None = None, theme: ThemeName = "light"
) -> DescribedFigure:
    """The targets of the main head and of each depth of multi-token prediction, under the position that predicts them.

    Args:
        tokens: the text of each.
        mtp_depth: K; depth k predicts the token k + 1 ahead.
        document: of each token; none is left on the way.

    Raises:
        ArgumentError: there are too many tokens or depths to be read, or `document` has another length.
        ArgumentTypeError: the tokens are no texts, or `document` no whole numbers.
        InputError: matplotlib is not installed.
    """
    shown = token_list("tokens", tokens, most=MOST_TOKENS)
    require_sizes(mtp_depth=mtp_depth)
    require(mtp_depth <= _MOST_DEPTHS, "mtp_depth", f"be at most {_MOST_DEPTHS}, to be read", mtp_depth)
    documents = None if document is None else torch.tensor(whole_numbers("document", document))
    targets = Targets.from_labels(torch.arange(len(shown)), document=documents)  # a token's id is its position here
    depths = [targets.at(1 + k) for k in range(1 + mtp_depth)]
    several = document is not None

    def draw(colors: Theme) -> DescribedFigure:
        return _drawn(shown, depths, colors, several=several)

    return described(draw, theme, _description(shown, depths))


def _drawn(shown: list[str], depths: list[Targets], colors: Theme, *, several: bool) -> DescribedFigure:
    columns = Columns.of(shown, count=len(shown))
    drawn = canvas(colors, height=1.5 + _STEP * len(depths), width=columns.width)
    top = position_row(drawn, shown, columns, "input", [""] * len(shown)) + 0.38
    drawn.text(columns.left, top - 0.16, "has to predict", color=colors.muted)
    for k, ahead in enumerate(depths):
        y = top + k * _STEP
        drawn.text(columns.left, y + BOX_HEIGHT / 2, "head: t + 1" if k == 0 else f"depth {k}: t + {k + 1}")
        for t, (number, reason) in enumerate(zip(ahead.ids.tolist(), ahead.reason.tolist(), strict=True)):
            scored = reason == int(Reason.SCORED)
            text = shown[number] if scored else ""
            drawn.box(columns.start(t), y, columns.box, text, learnt=scored, hatched=not scored)
    counts = ", ".join(str(ahead.count) for ahead in depths)
    y = top + len(depths) * _STEP + 0.08
    why = "nothing follows that far ahead" + (", or another document does" if several else "")
    drawn.text(columns.left, y, f"scored: {counts} positions; hatched: {why}", color=colors.muted)
    return drawn.figure


def _description(shown: list[str], depths: list[Targets]) -> str:
    counts = [f"depth {k}, {k + 1} ahead, {ahead.count}" for k, ahead in enumerate(depths)][1:]
    said = listed([spoken(token) for token in shown])
    return sentences(
        f"Under each of {counted(len(shown), 'position')} ({said}) the tokens that it has to predict,",
        "a row for each depth.",
        f"Positions scored: the head, one ahead, {depths[0].count}; {'; '.join(counts)}. The others are hatched.",
    )
