"""A batch from anyone's pipeline, in one form: numpy rows, which positions are tokens, where documents end.

The keys are transformers': input_ids, labels, attention_mask, position_ids, cu_seqlens or cu_seq_lens_q, and for the
document of each position one of document, document_ids, segment_ids, seq_idx. Others are not looked at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lmhead.errors import ArgumentError, ArgumentTypeError, require

DOCUMENT_KEYS = ("document", "document_ids", "segment_ids", "seq_idx")
LENGTH_KEYS = ("cu_seqlens", "cu_seq_lens_q", "cu_seq_lens")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchColumns:
    """Rows as they came, short ones filled up; every array is [R, T]."""

    ids: npt.NDArray[np.int64]
    present: npt.NDArray[np.bool_]  # False where a list was shorter than the longest
    labels: npt.NDArray[np.int64] | None
    mask: npt.NDArray[np.int64] | None  # the 2-D attention mask; None where there is none, or one that is not 2-D
    positions: npt.NDArray[np.int64] | None
    document: npt.NDArray[np.int64] | None  # -1 where there is none; None: nothing tells where documents end
    told_by: str = ""  # the key that tells the documents

    @property
    def visible(self) -> npt.NDArray[np.bool_]:
        """Positions that neither the mask nor the documents call padding."""
        visible = self.present if self.mask is None else self.present & (self.mask != 0)
        return visible if self.document is None else visible & (self.document >= 0)

    @property
    def starts(self) -> npt.NDArray[np.bool_]:
        """Positions that begin a document right behind another in the same row."""
        starts = np.zeros_like(self.present)
        if self.document is not None:
            before, now = self.document[:, :-1], self.document[:, 1:]
            starts[:, 1:] = (before != now) & (before >= 0) & (now >= 0)
        return starts & self.visible


def read_batch(batch: Mapping[str, Any]) -> BatchColumns:
    """The columns of a batch whose values are torch tensors, numpy arrays or lists, of one row or of several.

    Raises:
        ArgumentTypeError: `batch` is no mapping, or a value no array of integers.
        ArgumentError: there are no input_ids, or columns differ in shape.
    """
    if not isinstance(batch, Mapping):
        raise ArgumentTypeError(f"batch must be a mapping with input_ids, got {type(batch).__name__}")
    given = ", ".join(map(str, batch)) or "nothing"
    require(batch.get("input_ids") is not None, "batch", "have input_ids", given)
    ids, present = _rows("input_ids", batch["input_ids"])
    has_flat_mask = batch.get("attention_mask") is not None and _dimensions(batch["attention_mask"]) <= 2
    mask = _column(batch, "attention_mask", present) if has_flat_mask else None
    positions = _column(batch, "position_ids", present)
    document, told_by = _documents(batch, present, mask, positions)
    if document is not None:
        document = np.where(present if mask is None else present & (mask != 0), document, -1)
    return BatchColumns(
        ids=ids,
        present=present,
        labels=_column(batch, "labels", present),
        mask=mask,
        positions=positions,
        document=document,
        told_by=told_by,
    )


def _column(batch: Mapping[str, Any], name: str, present: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64] | None:
    if batch.get(name) is None:
        return None
    values, there = _rows(name, batch[name])
    if len(values) == 1 < len(present) and values.shape[1] == present.shape[1]:
        values, there = np.broadcast_to(values, present.shape), np.broadcast_to(there, present.shape)
    sizes, wanted = there.sum(1).tolist(), present.sum(1).tolist()
    require(sizes == wanted, name, f"have as many tokens in each row as input_ids, {_few(wanted)}", _few(sizes))
    return values


def _documents(
    batch: Mapping[str, Any],
    present: npt.NDArray[np.bool_],
    mask: npt.NDArray[np.int64] | None,
    positions: npt.NDArray[np.int64] | None,
) -> tuple[npt.NDArray[np.int64] | None, str]:
    """(documents [R, T], the key that tells them) from the most explicit key; (None, "") where nothing tells."""
    for key in DOCUMENT_KEYS:
        document = _column(batch, key, present)
        if document is not None:
            return document, key
    if mask is not None and mask.max(initial=0) > 1:
        return mask - 1, "attention_mask"
    for key in LENGTH_KEYS:
        if batch.get(key) is not None:
            return _from_lengths(key, batch[key], present), key
    if positions is not None:
        restarts = np.diff(positions, axis=1, prepend=positions[:, :1] - 1) != 1
        if restarts.any():  # else they tell nothing: packed rows may have positions that count on
            return np.cumsum(restarts, axis=1).astype(np.int64), "position_ids"
    return None, ""


def _from_lengths(key: str, value: Any, present: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Documents by their bounds in the rows end to end."""
    bounds = np.asarray(_as_array(value), dtype=np.int64).ravel()
    rising = bounds.size >= 2 and bounds[0] == 0 and bool((np.diff(bounds) >= 0).all())
    rule = f"rise from 0 to the number of tokens, {present.size}"
    require(rising and bounds[-1] == present.size, key, rule, bounds[:8].tolist())
    return np.repeat(np.arange(bounds.size - 1), np.diff(bounds)).reshape(present.shape)


def _rows(name: str, value: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """(values [R, T], which of them were given [R, T]) of one row or several, of equal length or not."""
    if isinstance(value, Sequence) and len(value) and isinstance(value[0], Tensor | np.ndarray | Sequence):
        rows = [_integers(name, _as_array(row)) for row in value]
    else:
        array = _integers(name, _as_array(value))
        rows = list(np.atleast_2d(array))
    flat = all(row.ndim == 1 for row in rows)
    require(flat, name, "be [T] or [R, T]", f"{max(row.ndim for row in rows) + 1 if rows else 0} dimensions")
    T = max((len(row) for row in rows), default=0)
    values = np.zeros((len(rows), T), np.int64)
    present = np.zeros((len(rows), T), np.bool_)
    for number, row in enumerate(rows):
        values[number, : len(row)] = row
        present[number, : len(row)] = True
    return values, present


def _few(sizes: list[int]) -> str:
    return f"[{', '.join(map(str, sizes[:4]))}{', ...' if len(sizes) > 4 else ''}]"


def _dimensions(value: Any) -> int:
    """Of a tensor, an array or nested lists, of which only the first is looked into."""
    if isinstance(value, Tensor | np.ndarray):
        return int(value.ndim)
    return 1 + _dimensions(value[0]) if isinstance(value, Sequence) and len(value) else 0


def _as_array(value: Any) -> npt.NDArray[Any]:
    if isinstance(value, Tensor):
        return value.detach().cpu().numpy()
    try:
        return np.asarray(value)
    except ValueError:  # rows of unequal length inside a list of lists
        raise ArgumentError("batch must have rows of plain numbers, got nested lists of unequal length") from None


def _integers(name: str, array: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    if (
        array.size
        and array.dtype.kind not in "iub"
        and not (array.dtype.kind == "f" and (array == array.round()).all())
    ):
        raise ArgumentTypeError(f"{name} must be integers, got {array.dtype}")
    return array.astype(np.int64)
