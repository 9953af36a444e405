"""The causal mask: what each position may look at, as the library's own attention has it (labels/packing)."""

from collections.abc import Sequence
from typing import Final

import torch

from lmhead.errors import require
from lmhead.figures.described_figure import DescribedFigure, described
from lmhead.figures.description import counted, listed, sentences, spoken
from lmhead.figures.grid import cell_size, grid, token_list, whole_numbers
from lmhead.figures.theme import Theme, ThemeName
from lmhead.labels.packing.attention_mask import sdpa_mask

MOST_TOKENS: Final = 32  # more cannot be read at the width of a page


def causal_mask(
    tokens: Sequence[str], *, document: Sequence[int] | None = None, theme: ThemeName = "light"
) -> DescribedFigure:
    """The attention mask as a triangle: a row for each position, blue where it may look.

    Args:
        tokens: the text of each.
        document: the document of each, where several share a row: a triangle for each of them.

    Raises:
        ArgumentError: there are no tokens or too many to be read, or `document` has another length.
        ArgumentTypeError: the tokens are no texts, or `document` no whole numbers.
        InputError: matplotlib is not installed.
    """
    shown = token_list("tokens", tokens, most=MOST_TOKENS)
    documents = [0] * len(shown) if document is None else whole_numbers("document", document)
    rule = f"have as many entries as there are tokens, {len(shown)}"
    require(len(documents) == len(shown), "document", rule, len(documents))
    mask = sdpa_mask(torch.tensor([documents]))[0, 0].tolist()
    several = document is not None

    def draw(colors: Theme) -> DescribedFigure:
        return _drawn(shown, mask, colors, several=several)

    return described(draw, theme, _description(shown, mask, several=several))


def _drawn(shown: list[str], mask: list[list[bool]], colors: Theme, *, several: bool) -> DescribedFigure:
    side = cell_size(len(shown))
    drawn, left, top = grid(shown, colors, rows="position t", columns="the positions that t may look at")
    for query, row in enumerate(mask):
        for key, looks in enumerate(row):
            drawn.box(left + key * side, top + query * side, side * 0.9, height=side * 0.9, learnt=looks)
    hidden = "hidden: it comes later"
    if several:
        hidden += ", or is of another document"
    y = top + len(shown) * side + 0.2
    drawn.box(left, y, 0.2, height=0.2, learnt=True)
    drawn.text(left + 0.3, y + 0.1, "may look")
    drawn.box(left + 1.3, y, 0.2, height=0.2)
    drawn.text(left + 1.6, y + 0.1, hidden)
    return drawn.figure


def _description(shown: list[str], mask: list[list[bool]], *, several: bool) -> str:
    looks, cells = sum(map(sum, mask)), len(shown) ** 2
    before = "what came before it" + (" in its document" if several else "")
    return sentences(
        f"Attention mask of {counted(len(shown), 'token')} ({listed([spoken(token) for token in shown])}):",
        f"each may look at itself and at {before}, {looks} of {cells} pairs.",
    )
