"""A token as a terminal shows it: white space visible, bytes grouped, control characters escaped, never sent."""

from collections.abc import Mapping
from typing import Final

from lmhead.record.vocabulary import Piece
from lmhead.shown import shown_spaces

_WIDE: Final = str.maketrans({"\u00a0": "\u237d", "\u3000": "\u25a1"})  # spaces that are others' than the usual one


def shown_piece(piece: Piece) -> str:
    """One token on one line.

    Example:
        >>> shown_piece(Piece(kind="text", text=" the\\n")), shown_piece(Piece(kind="bytes", text="e29c"))
        ('·the↵', '⟨e2 9c⟩')
    """
    if piece.kind == "bytes":
        return f"\u27e8{bytes_shown(piece.text)}\u27e9"
    return shown_spaces(piece.text.translate(_WIDE))


def piece_of(number: int, vocabulary: Mapping[int, Piece]) -> Piece:
    """What an id stands for; its number where that is not known."""
    return vocabulary.get(number, Piece(kind="control", text=f"[{number}]"))


def bytes_shown(text: str) -> str:
    """Hexadecimal, a byte at a time: e2 9c."""
    return " ".join(text[place : place + 2] for place in range(0, len(text), 2))
