"""Wrapped rows for pretraining: documents end to end, cut wherever a row is full; sliding windows to score them.

Attention crosses documents in them; no position predicts another document's token.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from lmhead.errors import InputError, require
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.targets import Reason, Targets
from lmhead.options import option

Ids = npt.NDArray[np.uint16] | npt.NDArray[np.uint32] | npt.NDArray[np.int32]
_AT_ONCE: Final = 2**22  # tokens of a stream that are widened at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentStream:
    """Documents end to end, and where each ends: two bytes a token where the vocabulary allows it."""

    ids: Ids  # [M]
    ends: npt.NDArray[np.int64]  # [N], of each document: where the next one begins

    @staticmethod
    def of(documents: Sequence[Sequence[int]]) -> "DocumentStream":
        """The stream of some encoded documents, in their order."""
        lengths = [len(document) for document in documents]
        ids = np.concatenate(
            [np.asarray(document, dtype=np.int32) for document in documents] or [np.empty(0, np.int32)]
        )
        return DocumentStream(ids=ids, ends=np.cumsum(np.asarray(lengths, np.int64), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ids)

    def document(self, where: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The document, counted from 0, of each token."""
        return np.searchsorted(self.ends, where, side="right")

    def begins(self, document: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The first token of each document."""
        return np.where(document > 0, self.ends[document - 1], 0)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each document [N]."""
        return np.diff(self.ends, prepend=0)

    def fingerprint(self) -> str:
        """SHA-256 of the tokens and their documents: equal for equal training data, however wide the ids are."""
        digest = hashlib.sha256()
        for start in range(0, len(self), _AT_ONCE):
            digest.update(self.ids[start : start + _AT_ONCE].astype(np.int32).tobytes())
        for start in range(0, len(self), _AT_ONCE):
            bounds = np.array([start, min(start + _AT_ONCE, len(self))])
            first, last = self.document(np.array([bounds[0], bounds[1] - 1]))
            lengths = np.diff(np.clip(self.ends[first : last + 1], *bounds), prepend=start)
            digest.update(np.repeat(np.arange(first, last + 1, dtype=np.int32), lengths).tobytes())
        return digest.hexdigest()


class WrappedRows:
    """Rows of `length` inputs cut from a stream, in an order that depends on the seed and the epoch alone.

    Row r is a pure function of (stream, length, seed, r), so that a run resumed at a step needs nothing but the step's
    number. Each epoch starts its cuts somewhere else. A row holds length + 1 tokens: the last is only predicted.
    """

    def __init__(self, stream: DocumentStream, *, length: int, seed: int) -> None:
        require(length >= 1, option("length"), "be >= 1 token", length)
        if len(stream) < length + 1:
            raise InputError(
                f"the text has {len(stream)} tokens, fewer than one row needs ({length} + 1): "
                f"give more text or a shorter row ({option('length', max(1, len(stream) - 1))})"
            )
        self.stream = stream
        self.length = length
        self.seed = seed
        fitting = (len(stream) - 1) // length
        self.rows_per_epoch = max(1, fitting - 1)  # one less, so that the cuts have a row's length to move in
        self._epoch = -1
        self._starts = np.empty(0, np.int64)

    def take(self, first: int, count: int) -> PackedBatch:
        """The rows first, first + 1, ..., without end; documents and sources count the stream's documents."""
        starts = np.array([self._start(row) for row in range(first, first + count)])
        where = starts[:, None] + np.arange(self.length + 1)
        document = self.stream.document(where)
        before = starts - self.stream.begins(document[:, 0])
        return _batch(self.stream.ids[where].astype(np.int64), document, before=before)

    def _start(self, row: int) -> int:
        epoch, place = divmod(row, self.rows_per_epoch)
        if epoch != self._epoch:
            generator = np.random.default_rng((self.seed, epoch))
            slack = len(self.stream) - 1 - self.rows_per_epoch * self.length
            offset = int(generator.integers(0, slack + 1))
            self._starts = offset + self.length * generator.permutation(self.rows_per_epoch)
            self._epoch = epoch
        return int(self._starts[place])


def sliding_windows(
    stream: DocumentStream, *, length: int, stride: int, rows: npt.NDArray[np.int64] | None = None
) -> PackedBatch:
    """Windows of `length` inputs over a whole stream, so that each token but a document's first is scored once.

    All but the first window score the last `stride` tokens that they predict, of which each has length - stride tokens
    or more before it; the reason of the others is OVERLAP, and past the end of the stream PADDING.

    Args:
        rows: which of the windows, of `window_count` many; None: all.
    """
    M = len(stream)
    rows = np.arange(window_count(stream, length=length, stride=stride)) if rows is None else rows
    where = rows[:, None] * stride + np.arange(length + 1)
    inside = where < M
    overlap = np.arange(length + 1) <= np.where(rows == 0, 0, length - stride)[:, None]
    clipped = np.minimum(where, max(M - 1, 0))
    ids = stream.ids[clipped].astype(np.int64)
    known = stream.document(clipped)
    reason = np.where(overlap, np.uint8(Reason.OVERLAP), np.uint8(Reason.SCORED))
    before = clipped[:, 0] - stream.begins(known[:, 0])
    return _batch(ids, np.where(inside, known, -1), reason=reason, before=before)


def window_count(stream: DocumentStream, *, length: int, stride: int) -> int:
    """How many windows `sliding_windows` makes."""
    require(1 <= stride <= length, "stride", f"be in [1, {length}]", stride)
    return len(range(0, max(1, len(stream) - 1 - (length - stride)), stride))


def _batch(
    tokens: npt.NDArray[np.int64],  # [R, T + 1]: the last of a row is only predicted
    document: npt.NDArray[np.int64],  # [R, T + 1]: negative past the end
    reason: npt.NDArray[np.uint8] | None = None,  # [R, T + 1]: why a token is not to be predicted
    *,
    before: npt.NDArray[np.int64],  # [R]: tokens of the first document that stand before the row
) -> PackedBatch:
    ids, length = torch.from_numpy(tokens), tokens.shape[1] - 1
    targets = Targets.from_labels(
        ids,
        document=torch.from_numpy(document),
        reason=None if reason is None else torch.from_numpy(reason),
    )
    return PackedBatch(
        ids=ids[:, :length],
        targets=targets.up_to(length),
        sources=tuple(tuple(number for number in dict.fromkeys(row) if number >= 0) for row in document.tolist()),
        isolated=False,
        before=tuple(before.tolist()),
    )
