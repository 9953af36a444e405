"""Texts as training data: documents end to end in wrapped rows, held-out ones in windows that overlap by half."""

from collections.abc import Iterator
from typing import Final, final

import numpy as np
import numpy.typing as npt

from lmhead.batches.contract import DocumentTable, Part
from lmhead.data.sets.documents import DocumentNames, Documents
from lmhead.labels.example import MessageSpan
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.packing.wrapped_rows import DocumentStream, WrappedRows, sliding_windows, window_count

_ROWS: Final = 32  # windows at a time
_QUICK_WINDOWS: Final = 64  # of an evaluation along the way
_AT_ONCE: Final = 2**22  # tokens that are counted at a time: numpy widens them


@final
class TextRows:
    """Rows of `length` inputs of the training documents. Documents that share a row see one another.

    Args:
        names: where each document of the stream comes from.
    """

    def __init__(self, stream: DocumentStream, names: DocumentNames, *, length: int, seed: int) -> None:
        self.stream = stream
        self._rows = WrappedRows(stream, length=length, seed=seed)
        self._names = names

    def take(self, first: int, count: int) -> PackedBatch:
        """The rows first, first + 1, ..., count of them."""
        return self._rows.take(first, count)

    def name(self, source: int) -> str:
        """Where a document comes from."""
        return self._names[source]

    def fingerprint(self) -> str:
        """Of the tokens and their documents."""
        return self.stream.fingerprint()

    def table(self) -> DocumentTable:
        """All documents; of each all tokens but the first are learnt."""
        return _table(self.stream, self._names)

    def target_counts(self) -> npt.NDArray[np.int64]:
        """How often each id stands anywhere but at the beginning of a document."""
        ids = self.stream.ids
        counts = np.zeros(int(ids.max(initial=0)) + 1, np.int64)
        for start in range(0, len(ids), _AT_ONCE):
            counts += np.bincount(ids[start : start + _AT_ONCE], minlength=len(counts))
        lengths = self.stream.lengths
        firsts = (self.stream.ends - lengths)[lengths > 0]
        return counts - np.bincount(ids[firsts], minlength=len(counts))


@final
class HeldOutText:
    """Every token but the first of each document, the closing end-of-text included.

    Args:
        lossless: whether the tokens give the text back; else no bytes are counted, and there are no bits per byte.
    """

    answers = False

    def __init__(self, stream: DocumentStream, documents: Documents, *, length: int, lossless: bool = True) -> None:
        self.stream = stream
        self.tokens = len(stream)
        self.scored = int(np.maximum(stream.lengths - 1, 0).sum())
        self._names = documents.names()
        self._utf8 = b"".join(documents.every_utf8())
        self.bytes = len(self._utf8) if lossless else 0
        self.window, self.stride = length, max(1, length // 2)

    @property
    def text(self) -> str:
        """All of it, end to end."""
        return self._utf8.decode()

    def fingerprint(self) -> str:
        """Of the tokens and their documents."""
        return self.stream.fingerprint()

    def batches(self, part: Part | None = None) -> Iterator[PackedBatch]:
        """The windows, in their order."""
        picked = self._picked(part)
        for start in range(0, len(picked), _ROWS):
            rows = picked[start : start + _ROWS]
            yield sliding_windows(self.stream, length=self.window, stride=self.stride, rows=rows)

    def read(self, part: Part | None = None) -> int:
        """Positions of the windows."""
        return len(self._picked(part)) * self.window

    def table(self) -> DocumentTable:
        """All documents."""
        return _table(self.stream, self._names)

    def name(self, source: int) -> str:
        """Where a document comes from."""
        return self._names[source]

    def spans(self, source: int) -> tuple[MessageSpan, ...]:
        """None: a text has no messages."""
        return ()

    def _picked(self, part: Part | None) -> npt.NDArray[np.int64]:
        """Numbers of the windows that are taken."""
        windows = window_count(self.stream, length=self.window, stride=self.stride)
        wanted = windows
        if part is not None:
            # each scores `stride` tokens but the first, which has no window before it and scores them all
            overlap = self.window - self.stride
            wanted = _QUICK_WINDOWS if part.tokens is None else max(1, (part.tokens - overlap) // self.stride)
        return np.linspace(0, windows - 1, min(wanted, windows)).astype(np.int64)


def _table(stream: DocumentStream, names: DocumentNames) -> DocumentTable:
    tokens = stream.lengths
    return DocumentTable(sources=names.origins, source=names.origin, tokens=tokens, scored=np.maximum(tokens - 1, 0))
