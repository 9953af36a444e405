"""Token text as a figure shows it: on one line, with white space visible and control characters escaped."""

import unicodedata
from typing import Final

from lmhead.shown import shown_line

_VISIBLE: Final = {" ": "·", "\n": "↵", "\t": "→", "\r": "␍"}


def token_text(text: str) -> str:
    r"""`text` with its white space visible.

    Example:
        >>> token_text(" capital\n")
        '·capital↵'
    """
    return shown_line("".join(_VISIBLE.get(character, character) for character in text))


def columns_of(text: str) -> int:
    """Columns that `text` takes in a font of one width: two for a wide character, none for a mark upon another.

    Example:
        >>> columns_of("é"), columns_of("日本")
        (1, 4)
    """
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)
