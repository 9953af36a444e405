"""Tokens as text that flows in a terminal: by loss in colour, what is not learnt dim and why; without colour in marks.

The colours go from dark to light and from blue to yellow at once (cividis; Nuñez et al. 2018): they tell apart for
every kind of colour vision, and in print.
"""

import codecs
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

import numpy as np

from lmhead.errors import IGNORE_INDEX
from lmhead.inspection.tokens.row_table import reason_in_words
from lmhead.inspection.tokens.shown_piece import bytes_shown, piece_of, shown_piece
from lmhead.labels.targets import Reason
from lmhead.record.token_row import TokenRow
from lmhead.record.vocabulary import Piece
from lmhead.shown import shown_line

_RESET: Final = "\x1b[0m"
_DIM: Final = "\x1b[2m"
_LEARNT: Final = "\x1b[48;2;0;62;110;38;2;255;255;255m"  # where there is no loss
_STEPS: Final = (  # upper bound in nats, red, green, blue of what is behind the token
    (0.1, 0, 34, 78),
    (0.5, 35, 62, 108),
    (1.0, 73, 86, 108),
    (2.0, 112, 113, 115),
    (4.0, 156, 142, 117),
    (8.0, 202, 174, 95),
    (float("inf"), 253, 234, 69),
)
_PADDING: Final = reason_in_words(int(Reason.PADDING))
_OFTEN: Final = 4  # tokens of padding that are counted, not written
_DARK_TEXT: Final = 140  # brightness from which on the letters are black


def coloured_text(
    rows: Sequence[TokenRow], vocabulary: Mapping[int, Piece], *, colour: bool, tokens: int | None
) -> str:
    """The rows as text, at most so many `tokens` of them, with a legend."""
    lines, left = [_legend(rows, colour)], tokens
    for number, row in enumerate(rows):
        taken = len(row.ids) if left is None else min(left, len(row.ids))
        if left is not None:
            left -= taken
        if taken == 0:
            lines.append(f"... and {len(rows) - number:,} more rows")
            break
        lines += ["", shown_line(f"row {number}" + (f": {', '.join(row.names[:3])}" if row.names else ""))]
        lines.append("".join(_marked(row, vocabulary, taken, colour)))
        if taken < len(row.ids):
            lines.append(f"... and {len(row.ids) - taken:,} more tokens of this row")
    return "\n".join(lines)


def wants_colour() -> bool:
    """Whether standard output is a terminal that shows colours."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def _legend(rows: Sequence[TokenRow], colour: bool) -> str:
    if not colour:
        return "\u00ablearnt\u00bb, and the rest with its reason"
    if not any(row.scores is not None for row in rows):
        return f"{_LEARNT}learnt{_RESET} {_DIM}not learnt{_RESET}"
    names = [f"< {bound:g}" for bound, *_ in _STEPS[:-1]] + [f"> {_STEPS[-2][0]:g}"]
    blocks = [f"{_behind(*rgb)} {name} {_RESET}" for name, (_, *rgb) in zip(names, _STEPS, strict=True)]
    return f"loss in nats {''.join(blocks)} {_DIM}not learnt{_RESET}"


def _marked(row: TokenRow, vocabulary: Mapping[int, Piece], taken: int, colour: bool) -> Iterator[str]:
    """Pieces of text; the reason stands before what is not learnt, where it changes."""
    whys = [_why(row, place) for place in range(taken)]
    for why, places in groupby(range(taken), key=whys.__getitem__):
        together = list(places)
        text = _padding(row, vocabulary, together) or _text(row, vocabulary, together, colour)
        if not why:
            yield text if colour else f"\u00ab{text}\u00bb"
        elif colour:
            yield f"{_DIM}[{why}]{text}{_RESET}"
        else:
            yield f"[{why}]{text}"


def _why(row: TokenRow, place: int) -> str:
    """Why the token at a position is not learnt: the reason of the position before; "" where it is."""
    if place == 0:
        return _PADDING if row.document is not None and row.document[0] < 0 else "first"
    return "" if row.targets[place - 1] != IGNORE_INDEX else reason_in_words(int(row.reason[place - 1]))


def _padding(row: TokenRow, vocabulary: Mapping[int, Piece], places: Sequence[int]) -> str:
    """Of padding that is one token again and again, the token and how often; "" of anything else."""
    if len(places) < _OFTEN or row.document is None or (row.document[list(places)] >= 0).any():
        return ""
    (number, *others) = np.unique(row.ids[list(places)]).tolist()
    return "" if others else f"{shown_piece(piece_of(number, vocabulary))} \u00d7 {len(places):,}"


def _text(row: TokenRow, vocabulary: Mapping[int, Piece], places: Sequence[int], colour: bool) -> str:
    """The text of tokens side by side; bytes that make a character together are that character."""
    shown, waiting = [], bytearray()
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    for place in places:
        piece = piece_of(int(row.ids[place]), vocabulary)
        if piece.kind == "bytes":
            try:
                waiting += bytes.fromhex(piece.text)
                text = _flowing(decoder.decode(bytes.fromhex(piece.text)))
            except ValueError:
                text = f"\u27e8{bytes_shown(waiting.hex())}\u27e9"
                decoder.reset()
            if text:
                waiting.clear()
        else:
            text = f"\u27e8{bytes_shown(waiting.hex())}\u27e9" if waiting else ""
            waiting.clear()
            decoder.reset()
            text += shown_piece(piece) if piece.kind == "control" else _flowing(piece.text)
        shown.append(_painted(row, place, text) if colour else text)
    return "".join(shown) + (f"\u27e8{bytes_shown(waiting.hex())}\u27e9" if waiting else "")


def _flowing(text: str) -> str:
    """Text with its lines, and a mark where each ends."""
    return "".join(shown_line(line) + "\u21b5\n" for line in text.split("\n")[:-1]) + shown_line(text.split("\n")[-1])


def _painted(row: TokenRow, place: int, text: str) -> str:
    """In the colour of its loss, where it is learnt; a line that ends keeps no colour behind it."""
    if place == 0 or row.targets[place - 1] == IGNORE_INDEX:
        return text
    nll = np.nan if row.scores is None else row.scores.nll[place - 1]
    paint = _LEARNT
    if np.isfinite(nll):
        paint = next(_behind(*rgb) for bound, *rgb in _STEPS if nll < bound)
    return "".join(f"{paint}{line}{_RESET}\n" for line in text.split("\n")[:-1]) + (
        f"{paint}{text.split(chr(10))[-1]}{_RESET}" if text.split("\n")[-1] else ""
    )


def _behind(red: int, green: int, blue: int) -> str:
    ink = "0;0;0" if (red * 3 + green * 6 + blue) / 10 > _DARK_TEXT else "255;255;255"
    return f"\x1b[48;2;{red};{green};{blue};38;2;{ink}m"
