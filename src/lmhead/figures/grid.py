"""A square of positions by positions, with its tokens along two sides."""

from collections.abc import Sequence
from typing import Final

from lmhead.errors import ArgumentTypeError, require, require_kind
from lmhead.figures.canvas import WIDTH, Canvas, canvas, text_width
from lmhead.figures.theme import Theme
from lmhead.shown import shown_spaces

CELL: Final = 0.4  # inches
_SMALL: Final = 0.21  # where there are many tokens
_FEW: Final = 14


def token_list(name: str, tokens: Sequence[str], *, most: int) -> list[str]:
    """The tokens as a figure shows them.

    Raises:
        ArgumentTypeError: they are no list of str.
        ArgumentError: there are none or more than `most`.
    """
    listed = isinstance(tokens, Sequence) and not isinstance(tokens, str)
    if not listed or not all(isinstance(token, str) for token in tokens):
        raise ArgumentTypeError(f"{name} must be a list of the tokens' texts, got {type(tokens).__name__}")
    require(1 <= len(tokens) <= most, name, f"be 1 to {most}, to be read at the width of a page", len(tokens))
    return [shown_spaces(token) for token in tokens]


def whole_numbers(name: str, values: Sequence[int]) -> list[int]:
    """Whole numbers, of a list, an array or a tensor [T]: ids, or the document of each token.

    Raises:
        ArgumentTypeError: they are no row of whole numbers.
    """
    tolist = getattr(values, "tolist", None)
    row = tolist() if callable(tolist) else list(values) if isinstance(values, Sequence) else values
    if not isinstance(row, list):
        raise ArgumentTypeError(f"{name} must be a list of int, got {type(values).__name__}")
    for number in row:
        require_kind(f"an entry of {name}", number, int)
    return row


def cell_size(count: int) -> float:
    """Inches of a cell's side where there are `count` tokens."""
    return CELL if count <= _FEW else _SMALL


def grid(
    tokens: Sequence[str], theme: Theme, *, rows: str, columns: str, below: float = 0.6
) -> tuple[Canvas, float, float]:
    """(canvas, left, top): an empty square whose cells are to be drawn from there, and room of `below` inches under it.

    Args:
        rows, columns: what is written over the tokens at the left, and over those on top.
    """
    side, size = cell_size(len(tokens)), 10 if len(tokens) <= _FEW else 8
    longest = max(text_width(token, size) for token in tokens)
    numbers = text_width("00", size) + 0.1
    left = max(longest + numbers + 0.35, 1.9)
    top = longest + numbers + 0.5
    drawn = canvas(theme, height=top + side * len(tokens) + below, width=WIDTH)
    left += max((WIDTH - left - side * len(tokens)) / 2 - 0.6, 0)
    drawn.text(left - 0.12, top - 0.2, rows, align="right", color=theme.muted)
    drawn.text(left, 0.2, columns, color=theme.muted)
    for t, token in enumerate(tokens):
        middle = side * (t + 0.45)
        drawn.text(left - 0.12, top + middle, f"{token} {t:>2}", align="right", mono=True, size=size)
        drawn.text(left + middle, top - 0.1, f"{t:<2} {token}", mono=True, size=size, rotation=90)
    return drawn, left, top
