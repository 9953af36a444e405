"""The worst tokens of a record's rows: those with the highest loss, each with what stands around it."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from lmhead.record.record import Record
from lmhead.record.token_row import TokenRow
from lmhead.record.vocabulary import Piece

_MOST: Final = 40
_OF_A_ROW: Final = 8
_BEFORE, _AFTER = 24, 6  # tokens that are shown around it


def worst_tokens(record: Record) -> list[dict[str, Any]]:
    """The scored tokens with the highest loss, falling, at most a few of a row, for the page."""
    found = [(nll, number, at) for number, row in enumerate(record.rows) for nll, at in _worst_of(row)]
    found.sort(key=lambda each: -each[0])
    return [_told(record, number, at) for _, number, at in found[:_MOST]]


def _worst_of(row: TokenRow) -> list[tuple[float, int]]:
    """(nll, position) of the worst scored targets of a row."""
    if row.scores is None:
        return []
    scored = (row.targets >= 0) & np.isfinite(row.scores.nll)
    order = np.argsort(np.where(scored, -row.scores.nll, np.inf), kind="stable")[:_OF_A_ROW]
    return [(float(row.scores.nll[at]), int(at)) for at in order if scored[at]]


def _told(record: Record, number: int, at: int) -> dict[str, Any]:
    row, pieces = record.rows[number], record.vocabulary
    scores = row.scores
    assert scores is not None
    document = row.document if row.document is not None else np.zeros(len(row.ids), np.int64)
    same = document == document[at]
    here = np.arange(len(row.ids))
    before = row.ids[same & (here <= at) & (here > at - _BEFORE)]
    after = row.ids[same & (here > at + 1) & (here <= at + 1 + _AFTER)]
    made: dict[str, Any] = {
        "row": number,
        "at": at + 1,  # where the token stands; it is predicted from the one before
        "nll": float(scores.nll[at]),
        "before": text_of(before.tolist(), pieces),
        "target": text_of([int(row.targets[at])], pieces),
        "after": text_of(after.tolist(), pieces),
        "name": _entry(row.names, int(document[at])) or _entry(row.sources, int(document[at])),
    }
    if scores.rank is not None and scores.rank[at] >= 0:
        made["rank"] = int(scores.rank[at])
    if scores.top_ids is not None and scores.top_logprobs is not None:
        made["top"] = [
            [text_of([int(token)], pieces), float(np.exp(logprob))]
            for token, logprob in zip(scores.top_ids[at], scores.top_logprobs[at], strict=True)
            if token >= 0 and np.isfinite(logprob)
        ]
    return made


def text_of(ids: Iterable[int], pieces: Mapping[int, Piece]) -> str:
    """What ids stand for, together; bytes that make no character as \\xe2, ids that nobody knows as <7>."""
    made = b""
    for token in ids:
        piece = pieces.get(token)
        if piece is None:
            made += f"<{token}>".encode()
        elif piece.kind == "bytes":
            made += _bytes(piece.text)
        else:
            made += piece.text.encode("utf-8", "surrogatepass")
    return made.decode("utf-8", "backslashreplace")


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return text.encode("utf-8", "surrogatepass")


def _entry(names: tuple[str, ...], number: int) -> str:
    return names[number] if 0 <= number < len(names) else ""
