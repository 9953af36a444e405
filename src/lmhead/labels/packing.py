"""Documents -> rows. Wrapped rows for pretraining: documents end to end, cut wherever a row is full."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmhead.errors import InputError, require


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStream:
    """Documents end to end, and which document each token belongs to."""

    ids: npt.NDArray[np.int32]  # [M]
    document: npt.NDArray[np.int32]  # [M], rising from 0

    @staticmethod
    def of(documents: Sequence[Sequence[int]]) -> "TokenStream":
        """The stream of some encoded documents, in their order."""
        lengths = [len(document) for document in documents]
        ids = np.concatenate(
            [np.asarray(document, dtype=np.int32) for document in documents] or [np.empty(0, np.int32)]
        )
        return TokenStream(ids=ids, document=np.repeat(np.arange(len(lengths), dtype=np.int32), lengths))

    def __len__(self) -> int:
        return len(self.ids)

    def fingerprint(self) -> str:
        """SHA-256 of the tokens and their documents: equal for equal training data."""
        digest = hashlib.sha256(self.ids.tobytes())
        digest.update(self.document.tobytes())
        return digest.hexdigest()


class WrappedRows:
    """Rows of `length` inputs cut from a stream, in an order that depends on the seed and the epoch alone.

    Row r is a pure function of (stream, length, seed, r), so that a run resumed at a step needs nothing but the step's
    number. Each epoch starts its cuts somewhere else. A row holds length + 1 tokens: the last is only predicted.
    """

    def __init__(self, stream: TokenStream, *, length: int, seed: int) -> None:
        require(length >= 1, "length", "be >= 1 token", length)
        if len(stream) < length + 1:
            raise InputError(
                f"the text has {len(stream)} tokens, fewer than one row needs ({length} + 1): "
                f"give more text or a shorter row (--max-seq-len {max(1, len(stream) - 1)})"
            )
        self.stream = stream
        self.length = length
        self.seed = seed
        fitting = (len(stream) - 1) // length
        self.rows_per_epoch = max(1, fitting - 1)  # one less, so that the cuts have a row's length to move in
        self._epoch = -1
        self._starts = np.empty(0, np.int64)

    def take(self, first: int, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Tokens and documents, each [count, length + 1], of the rows first, first + 1, ..., without end."""
        starts = np.array([self._start(row) for row in range(first, first + count)])
        where = starts[:, None] + np.arange(self.length + 1)
        return self.stream.ids[where].astype(np.int64), self.stream.document[where].astype(np.int64)

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
    stream: TokenStream, *, length: int, stride: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Windows of length + 1 tokens over a whole stream, so that each token but the first is scored exactly once.

    Returns:
        Tokens [W, length + 1], documents [W, length + 1] (-1 past the end), and which tokens are scored there. All but
        the first window score their last `stride` tokens: each has length - stride tokens or more before it.
    """
    require(1 <= stride <= length, "stride", f"be in [1, {length}]", stride)
    M = len(stream)
    starts = np.arange(0, max(1, M - 1 - (length - stride)), stride)
    where = starts[:, None] + np.arange(length + 1)
    inside = where < M
    scored = inside & (np.arange(length + 1) > length - stride)
    scored[0] = inside[0] & (np.arange(length + 1) > 0)
    clipped = np.minimum(where, max(M - 1, 0))
    ids = stream.ids[clipped].astype(np.int64)
    document = np.where(inside, stream.document[clipped], -1).astype(np.int64)
    return ids, document, scored
