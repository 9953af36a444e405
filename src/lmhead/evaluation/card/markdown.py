"""A card as Markdown: tables for a model card or a pull request; no text of the data becomes markup."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from lmhead.evaluation.card.card_fields import CardFields
from lmhead.evaluation.card.content import PERPLEXITY_WARNING, Block, behind, figures, headlines, notes, title
from lmhead.shown import shown_line

_MARKUP: Final = re.compile(r"([\\`*_{}\[\]<>#|~&!])")


def card_markdown(card: CardFields) -> str:
    """The card, in sections from the second level on."""
    lines = [f"## Evaluation: {escaped(title(card))}", ""]
    rows = [(each.name, each.value, each.beside) for each in headlines(card)]
    lines += _table(("figure", "", ""), rows, left=(0, 2))
    lines += ["", escaped(PERPLEXITY_WARNING)]
    for note in notes(card):
        lines += ["", f"**Note:** {escaped(note)}"]
    for block in figures(card):
        lines += ["", *_block(block)]
    lines += ["", "### Behind the figures"]
    for block in behind(card):
        lines += ["", *_block(block, level=4)]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    r"""Text that Markdown shows as it is, in a cell of a table too.

    Example:
        >>> print(escaped("a_b|<c>"))
        a\_b\|\<c\>
    """
    return _MARKUP.sub(r"\\\1", shown_line(text))


def _block(block: Block, *, level: int = 3) -> Iterator[str]:
    yield f"{'#' * level} {escaped(block.title)}"
    yield ""
    if block.rows:
        width = len(block.rows[0])
        left = block.left if block.columns else range(width)
        yield from _table(block.columns or ("",) * width, block.rows, left=left)
    for note in block.notes:
        yield ""
        yield escaped(note)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int]) -> Iterator[str]:
    yield _row(columns)
    yield f"|{'|'.join('---' if place in left else '---:' for place in range(len(columns)))}|"
    for row in rows:
        yield _row(row)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(escaped, cells))} |"
