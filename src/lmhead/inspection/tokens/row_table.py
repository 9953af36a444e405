"""Row table: a row of tokens as text: position, token, id, target, loss, and `learns` or the reason why not."""

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from rich.cells import cell_len

from lmhead.errors import IGNORE_INDEX
from lmhead.inspection.tokens.shown_piece import piece_of, shown_piece
from lmhead.labels.targets import Reason
from lmhead.record.token_row import TokenRow, TokenScores
from lmhead.record.vocabulary import Piece
from lmhead.report.reason_words import REASON_WORDS

# As the page has them; a document's last position is told here, its first token there.
_WORDS: Final = {number: words.name for number, words in REASON_WORDS.items()} | {
    int(Reason.SCORED): "learns",
    int(Reason.DOCUMENT_BOUNDARY): "document boundary",
}
_RIGHT: Final = {"position", "id", "target id", "weight", "loss", "p", "rank", "other loss"}


def row_table(row: TokenRow, vocabulary: Mapping[int, Piece]) -> str:
    """A line for each position: what stands there, what is to be predicted from it, and why where nothing is.

    Example:
        >>> ids, targets = np.array([7, 8]), np.array([8, -100])
        >>> row = TokenRow(ids=ids, targets=targets, reason=np.array([0, 2], np.uint8))
        >>> print(row_table(row, {7: Piece(kind="text", text="Hi"), 8: Piece(kind="text", text=" you")}))
        position  token  id  target  target id  learns, or why not
               0  Hi      7  ·you            8  learns
               1  ·you    8               -100  end of row
    """
    columns = dict(_columns(row, vocabulary))
    widths = {name: max(map(cell_len, [name, *cells])) for name, cells in columns.items()}
    lines = [_line({name: name for name in columns}, widths)]
    places = range(len(row.ids))
    lines += [_line({name: cells[place] for name, cells in columns.items()}, widths) for place in places]
    return "\n".join(lines)


def reason_in_words(value: int) -> str:
    """`learns`, or why nothing is learnt: end of row, user, ...; a number that no reason has as it is."""
    return _WORDS.get(value, f"reason {value}")


def _columns(row: TokenRow, vocabulary: Mapping[int, Piece]) -> Iterator[tuple[str, list[str]]]:
    T = len(row.ids)
    targets = row.targets.tolist()
    yield "position", [str(place) for place in (range(T) if row.position is None else row.position.tolist())]
    yield "token", [shown_piece(piece_of(number, vocabulary)) for number in row.ids.tolist()]
    yield "id", [str(number) for number in row.ids.tolist()]
    yield "target", ["" if number == IGNORE_INDEX else shown_piece(piece_of(number, vocabulary)) for number in targets]
    yield "target id", [str(number) for number in targets]
    if row.document is not None and len(np.unique(row.document)) > 1:
        yield "document", [str(number) if number >= 0 else "" for number in row.document.tolist()]
    if row.weight is not None:
        yield "weight", [f"{weight:g}" for weight in row.weight.tolist()]
    yield from _scores(row.scores)
    if isinstance(row.against, TokenScores):
        yield "other loss", [f"{value:.4f}" if np.isfinite(value) else "" for value in row.against.nll.tolist()]
    yield "learns, or why not", [reason_in_words(int(value)) for value in row.reason.tolist()]


def _scores(scores: TokenScores | None) -> Iterator[tuple[str, list[str]]]:
    if scores is None:
        return
    there = np.isfinite(scores.nll).tolist()
    nll = scores.nll.tolist()
    yield "loss", [f"{value:.4f}" if known else "" for value, known in zip(nll, there, strict=True)]
    yield "p", [f"{np.exp(-value):.4f}" if known else "" for value, known in zip(nll, there, strict=True)]
    if scores.rank is not None:
        ranks = scores.rank.tolist()
        yield "rank", [str(value) if known else "" for value, known in zip(ranks, there, strict=True)]


def _line(cells: Mapping[str, str], widths: Mapping[str, int]) -> str:
    parts = []
    for name, cell in cells.items():
        space = " " * (widths[name] - cell_len(cell))
        parts.append(space + cell if name in _RIGHT else cell + space)
    return "  ".join(parts).rstrip()
