"""Spans between bytes at which tokens of both tokenizers end: the losses of the two over one are of the same bytes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmhead.errors import require
from lmhead.evaluation.scores.byte_losses import WHITE, ByteLosses


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SharedSpans:
    """Of one document; spans tile its bytes, and no loss is lost."""

    ends: npt.NDArray[np.int64]  # [S] bytes
    first: npt.NDArray[np.float64]  # [S] nats of the first model's tokens
    second: npt.NDArray[np.float64]
    kinds: npt.NDArray[np.uint8]  # [S]: of the first byte that is no white space, by its place in BYTE_KINDS

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """[S] bytes before each."""
        return np.append(0, self.ends[:-1])[: len(self.ends)]


def shared_spans(first: ByteLosses, second: ByteLosses) -> SharedSpans:
    """The spans of a document that two models have read. Tokens without bytes are of the span that ends with them.

    Raises:
        ArgumentError: the two are not of the same bytes, or one has no token.

    Example:
        >>> words = ByteLosses(ends=np.array([3, 7]), nll=np.array([1.0, 2.0]), kinds=np.zeros(2, np.uint8))
        >>> letters = ByteLosses(ends=np.arange(1, 8), nll=np.full(7, 0.5), kinds=np.zeros(7, np.uint8))
        >>> spans = shared_spans(words, letters)
        >>> spans.ends.tolist(), spans.first.tolist(), spans.second.tolist()
        ([3, 7], [1.0, 2.0], [1.5, 2.0])
    """
    got = f"{first.size} bytes and {second.size}"
    require(first.size == second.size > 0, "two models' tokens", "be of the same bytes, one or more", got)
    ends = np.intersect1d(first.ends, second.ends)
    ends = ends[ends > 0]
    of = np.searchsorted(ends, first.ends)  # of each token of the first, its span
    kinds = np.full(len(ends), WHITE, np.uint8)
    dark = np.flatnonzero(first.kinds != WHITE)[::-1]  # so that the first of a span is written last
    kinds[of[dark]] = first.kinds[dark]
    return SharedSpans(
        ends=ends,
        first=_summed(of, first.nll, len(ends)),
        second=_summed(np.searchsorted(ends, second.ends), second.nll, len(ends)),
        kinds=kinds,
    )


def _summed(of: npt.NDArray[np.intp], nll: npt.NDArray[np.float64], spans: int) -> npt.NDArray[np.float64]:
    return np.bincount(of, nll, spans).astype(np.float64)  # of no token, counts would be integers
