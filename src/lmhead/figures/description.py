"""Description of a figure in words: bounded sentences, in which tokens stand as one would say them."""

from collections.abc import Sequence
from typing import Final

from lmhead.shown import shown_line

LONGEST: Final = 400  # characters: more is not listened to
_LONGEST_NAME: Final = 24
LONGEST_TITLE: Final = 40
_SPACE: Final = "\u00b7"  # as shown_spaces writes it


def sentences(*parts: str) -> str:
    """The parts with a space between them, cut where they are too long to be listened to."""
    return shortened(" ".join(part for part in parts if part), LONGEST)


def spoken(token: str, longest: int = _LONGEST_NAME) -> str:
    """A token in a sentence, short and without the marks of the spaces around it.

    Example:
        >>> spoken("·Paris"), spoken("·"), spoken("")
        ('Paris', '·', '(empty)')
    """
    return shortened(shown_line(token).strip(f"{_SPACE} ") or token or "(empty)", longest)


def listed(texts: Sequence[str], *, most: int = 6, separator: str = ", ") -> str:
    """The first texts, and how many more there are.

    Example:
        >>> listed(["a", "b", "c", "d"], most=2)
        'a, b and 2 more'
    """
    told = separator.join(texts[:most])
    return told if len(texts) <= most else f"{told} and {len(texts) - most} more"


def number_text(value: float) -> str:
    """A number in a sentence: four digits, or all of a whole one.

    Example:
        >>> [number_text(value) for value in (0.56839, 32768, 12345.6, 3e-7, 2e30)]
        ['0.5684', '32,768', '12,346', '3e-07', '2e+30']
    """
    value += 0.0  # -0 is said as 0
    whole = value == round(value) or abs(value) >= 1e4
    return f"{value:,.0f}" if whole and abs(value) < 1e15 else f"{value:.4g}"


def counted(count: int, what: str) -> str:
    """How many there are.

    Example:
        >>> counted(1, "pair"), counted(3, "pair")
        ('1 pair', '3 pairs')
    """
    return f"{count} {what}" + ("" if count == 1 else "s")


def shortened(text: str, longest: int) -> str:
    """`text`, with an ellipsis for what goes beyond so many characters.

    Example:
        >>> shortened("a long text", 7)
        'a long…'
    """
    return text if len(text) <= longest else text[: longest - 1] + "…"
