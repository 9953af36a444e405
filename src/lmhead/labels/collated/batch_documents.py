"""Which document each position of a batch belongs to: told by ids, a numbered mask, bounds, lengths, or positions.

Tools write the same thing in several words. Ids of documents: one a position. Bounds (cu_seqlens): of rows end to end,
with or without padding, or of each row. Lengths (seq_lengths): of each row, or of rows end to end. Positions: they
restart, at 0 or at any other number. And where nothing else tells: a mask of which token sees which (square_mask.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lmhead.errors import require
from lmhead.labels.collated.batch_rows import as_array, column_of, dimensions, integers
from lmhead.labels.collated.square_mask import documents_of_square

DOCUMENT_KEYS: Final = ("document", "document_ids", "segment_ids", "seq_idx", "sequence_id", "sequence_ids")
BOUND_KEYS: Final = ("cu_seqlens", "cu_seq_lens", "cu_seq_lens_q", "cu_seqlens_q", "cumulative_len")
LENGTH_KEYS: Final = ("seq_lengths", "seq_lens", "seqlens", "packed_seq_lens", "sequence_lengths")
_WITH_TEXT: Final = 4  # planes, of which the first counts tokens

_Documents = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]


def documents_of(
    batch: Mapping[str, Any],
    present: _Bools,
    mask: npt.NDArray[np.int64] | None,
    planes: npt.NDArray[np.int64] | None,  # [P, R, T], of position_ids
) -> tuple[_Documents | None, str]:
    """(documents [R, T], the key that tells them) from the most explicit key; (None, "") where nothing tells.

    A document of -1 is padding.

    Raises:
        ArgumentError, ArgumentTypeError: a column does not fit the rows.
    """
    for key in DOCUMENT_KEYS:
        document = column_of(batch, key, present)
        if document is not None:
            return document, key
    if mask is not None and mask.max(initial=0) > 1:
        return mask - 1, "attention_mask"
    for key in BOUND_KEYS:
        if batch.get(key) is not None:
            return _from_bounds(key, batch[key], present, mask), key
    for key in LENGTH_KEYS:
        if batch.get(key) is not None:
            return _from_lengths(key, batch[key], present, mask), key
    if planes is not None:
        restarts = _restarts(planes)
        if restarts.any():  # else they tell nothing: packed rows may have positions that count on
            return np.cumsum(restarts, axis=1).astype(np.int64), "position_ids"
    if mask is None and batch.get("attention_mask") is not None:
        document = documents_of_square("attention_mask", batch["attention_mask"], present)
        if document is not None:
            return document, "attention_mask"
    return None, ""


def _restarts(planes: npt.NDArray[np.int64]) -> _Bools:
    """Where positions do not go on. With pictures those of time stand still or jump in a document, and never fall."""
    first = planes[0]
    steps = np.diff(first, axis=1, prepend=first[:, :1] - 1)
    counts = (planes == first).all(axis=(0, 2)) | (len(planes) == _WITH_TEXT)  # [R]
    return np.asarray(np.where(counts[:, None], steps != 1, steps < 0))


def _from_bounds(key: str, value: Any, present: _Bools, mask: npt.NDArray[np.int64] | None) -> _Documents:
    """Documents by where each begins, and where the last ends."""
    rows = _rows_of(value, present)
    if rows is not None:
        found = np.full(present.shape, -1, np.int64)
        for number, (row, length) in enumerate(zip(rows, present.sum(1).tolist(), strict=True)):
            bounds = _checked_bounds(key, row[row >= 0], length, "the row's tokens")  # filled up with -1
            found[number, : bounds[-1]] = _numbered(np.diff(bounds))
        return found
    bounds = integers(key, as_array(value)).ravel()
    return _end_to_end(key, _checked_bounds(key, bounds, int(present.sum()), "the number of tokens"), present, mask)


def _from_lengths(key: str, value: Any, present: _Bools, mask: npt.NDArray[np.int64] | None) -> _Documents:
    """Documents by their lengths: what they leave of a row is padding."""
    rows = _rows_of(value, present)
    widths = present.sum(1)
    if rows is None:
        flat = integers(key, as_array(value)).ravel()
        bounds = np.concatenate([[0], np.cumsum(flat)])
        one_each = len(flat) == len(present) and bool((flat <= widths).all()) and flat.sum() != present.sum()
        if not one_each:
            total = int(present.sum())
            require(bool((flat >= 0).all()), key, "be lengths >= 0", flat[:8].tolist())
            return _end_to_end(key, _checked_bounds(key, bounds, total, "the number of tokens"), present, mask)
        rows = list(flat[:, None])
    found = np.full(present.shape, -1, np.int64)
    for number, (row, width) in enumerate(zip(rows, widths.tolist(), strict=True)):
        lengths = row[row > 0]  # filled up with 0 or -1
        rule = f"be lengths that come to at most {width} tokens in row {number}"
        require(int(lengths.sum()) <= width, key, rule, lengths[:8].tolist())
        found[number, : int(lengths.sum())] = _numbered(lengths)
    return found


def _end_to_end(key: str, bounds: _Documents, present: _Bools, mask: npt.NDArray[np.int64] | None) -> _Documents:
    """Of rows one behind the other: all their tokens, or those that the mask shows. One row may end with padding."""
    shown = present if mask is None else present & (mask != 0)
    total, seen, last = int(present.sum()), int(shown.sum()), int(bounds[-1])
    rule = f"rise from 0 to the number of tokens, {total}" + (f" or {seen} without padding" if seen < total else "")
    require(last in (total, seen) or (len(present) == 1 and last < total), key, rule, bounds[:8].tolist())
    found = np.full(present.shape, -1, np.int64)
    places = np.flatnonzero(shown if last == seen else present)[:last]
    found.flat[places] = _numbered(np.diff(bounds))
    return found


def _checked_bounds(key: str, bounds: _Documents, most: int, of: str) -> _Documents:
    rising = bounds.size >= 2 and bounds[0] == 0 and bool((np.diff(bounds) >= 0).all()) and bounds[-1] <= most
    require(rising, key, f"rise from 0 to {of}, {most}", bounds[:8].tolist())
    return bounds


def _numbered(lengths: _Documents) -> _Documents:
    return np.repeat(np.arange(len(lengths)), lengths)


def _rows_of(value: Any, present: _Bools) -> list[npt.NDArray[np.int64]] | None:
    """A list or array for each row; None where it is one for all rows."""
    if dimensions(value) != 2:
        return None
    rows = list(_each(value))
    return [integers("lengths", as_array(row)) for row in rows] if len(rows) == len(present) else None


def _each(value: Any) -> Iterator[Any]:
    yield from value if isinstance(value, Tensor | np.ndarray | Sequence) else ()
