"""Examples -> packed rows: `pack` for a finite set, `pack_stream` for one that is read once and never held.

For pretraining on whole texts, where a row may begin inside a document, there is WrappedRows (wrapped_rows.py).
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

from lmhead.errors import InputError, require_kind
from lmhead.labels.example import Example
from lmhead.labels.packing.best_fit import best_fit_decreasing
from lmhead.labels.packing.buffered_best_fit import buffered_best_fit
from lmhead.labels.packing.overflow import Fitting, Overflow, Piece, Untrained
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.packing.packing_report import PackingReport
from lmhead.ops.checks import require_sizes


def pack(
    examples: Iterable[Example],
    *,
    length: int,
    overflow: Overflow,
    untrained: Untrained = "refuse",
    seed: int = 0,
    pad_id: int = 0,
) -> "PackedRows":
    """The examples in rows of `length` tokens, best-fit decreasing; `.report` says what that cost.

    Args:
        overflow: what becomes of an example of more than `length` tokens: "drop" it, "truncate" it, or "split" it.
        untrained: what becomes of an example of which nothing can be learnt: "refuse", "drop" or "keep". All but the
            first are counted.
        seed: of the rows' order, which is another in each epoch.
        pad_id: any id; padding is told by its document, -1.

    Raises:
        ArgumentError: a choice that there is not, or rows of less than two tokens.
        InputError: no example is left, or one with nothing to learn is to be refused.
        ArgumentTypeError: an argument is of the wrong kind.

    Example:
        >>> rows = pack([Example.of([1, 2, 3], trained=[False, True, True])] * 4, length=6, overflow="drop")
        >>> print(rows.report)
        4 documents of 12 tokens in 2 rows of 6: 100.00% useful
        learnt: 8 of 8 tokens
        >>> rows.take(0, 1).positions
        tensor([[0, 1, 2, 0, 1, 2]])
    """
    _check_numbers(pad_id=pad_id, seed=seed)
    fitting = Fitting(length=length, overflow=overflow, untrained=untrained)
    pieces = list(fitting.pieces(examples))
    shared = best_fit_decreasing([len(piece) for piece in pieces], length=length)
    tokens = sum(len(piece) for piece in pieces)
    report = PackingReport.of(fitting.counts, length=length, rows=len(shared), packed_tokens=tokens)
    if not shared:
        raise InputError(f"no example is left to pack; give more, longer rows, or another policy\n{report}")
    return PackedRows([[pieces[index] for index in row] for row in shared], report=report, seed=seed, pad_id=pad_id)


class PackedRows:
    """Packed rows in an order that depends on the seed and the epoch alone. Made by `pack`.

    Row r is a pure function of (examples, length, seed, r), so that a run resumed at a step needs nothing but the
    step's number. Rows go on without end; every epoch has each of them once.
    """

    def __init__(self, rows: Sequence[Sequence[Piece]], *, report: PackingReport, seed: int, pad_id: int) -> None:
        self.rows = rows
        self.report = report
        self.seed = seed
        self.pad_id = pad_id
        self.rows_per_epoch = len(rows)
        self._epoch = -1
        self._order: npt.NDArray[np.int64] = np.empty(0, np.int64)

    def take(self, first: int, count: int) -> PackedBatch:
        """The rows first, first + 1, ..., count of them."""
        return PackedBatch.of(self.pieces(first, count), length=self.report.length, pad_id=self.pad_id)

    def pieces(self, first: int, count: int) -> list[Sequence[Piece]]:
        """What stands in the rows first, first + 1, ..., count of them.

        Raises:
            ArgumentError: a number is negative.
        """
        require_sizes(first=first, count=count, least=0)
        return [self.rows[self._place(row)] for row in range(first, first + count)]

    def _place(self, row: int) -> int:
        epoch, place = divmod(row, self.rows_per_epoch)
        if epoch != self._epoch:
            self._order = np.random.default_rng((self.seed, epoch)).permutation(self.rows_per_epoch)
            self._epoch = epoch
        return int(self._order[place])


def pack_stream(
    examples: Iterable[Example],
    *,
    length: int,
    overflow: Overflow,
    rows: int,
    untrained: Untrained = "refuse",
    buffer: int = 1000,
    pad_id: int = 0,
) -> "PackedStream":
    """Batches of `rows` rows from a stream of examples, of which at most `buffer` wait at any time.

    The order is that of the stream as far as packing allows: shuffle the stream. Other arguments are those of `pack`;
    what they refuse is raised while the stream is read.

    Raises:
        ArgumentError: a size is under 1, or a choice that there is not.
        ArgumentTypeError: an argument is of the wrong kind.

    Example:
        >>> stream = pack_stream([Example.of([1, 2, 3], trained=[True] * 3)] * 5, length=6, overflow="drop", rows=2)
        >>> [len(batch.ids) for batch in stream], stream.report.rows
        ([2, 1], 3)
    """
    require_sizes(rows=rows, buffer=buffer)
    _check_numbers(pad_id=pad_id)
    fitting = Fitting(length=length, overflow=overflow, untrained=untrained)
    return PackedStream(examples, fitting, rows=rows, buffer=buffer, pad_id=pad_id)


class PackedStream:
    """Batches of packed rows, each made when it is asked for; read once. Made by `pack_stream`."""

    def __init__(self, examples: Iterable[Example], fitting: Fitting, *, rows: int, buffer: int, pad_id: int) -> None:
        self._fitting = fitting
        self._packed = buffered_best_fit(fitting.pieces(examples), length=fitting.length, buffer=buffer)
        self._rows = rows
        self._pad_id = pad_id
        self._made = 0
        self._packed_tokens = 0

    def __iter__(self) -> Iterator[PackedBatch]:
        while rows := list(islice(self._packed, self._rows)):
            self._made += len(rows)
            self._packed_tokens += sum(len(piece) for row in rows for piece in row)
            yield PackedBatch.of(rows, length=self._fitting.length, pad_id=self._pad_id)

    @property
    def report(self) -> PackingReport:
        """What was read and packed up to now; documents that wait in the buffer are read, and not packed yet."""
        counts, length = self._fitting.counts, self._fitting.length
        return PackingReport.of(counts, length=length, rows=self._made, packed_tokens=self._packed_tokens)


def _check_numbers(**integers: object) -> None:
    for name, value in integers.items():
        require_kind(name, value, int)
