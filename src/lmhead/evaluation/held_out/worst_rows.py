"""Worst rows: of an evaluation's rows those with the worst tokens, and those with the worst documents."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Final

import numpy as np
import numpy.typing as npt

from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.ops.problem import TokenStatistics

_MOST: Final = 16  # rows
_MOST_TOKENS: Final = 8192  # of all of them, but one row there is
_SHARE: Final = 32  # one of so many rows that an evaluation reads
_LEAST: Final = 16  # tokens that a document's mean is over: one of fewer is not the worst for one token


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    value: float  # nats
    number: int  # of the row in the evaluation
    row: PackedBatch  # [1, T]


class WorstRows:
    """Keeps the rows of an evaluation that a person should look at; a damaged document is one of them."""

    def __init__(self) -> None:
        self._seen = 0
        self._by_document: list[_Candidate] = []
        self._by_token: list[_Candidate] = []

    def add(self, batch: PackedBatch, statistics: TokenStatistics) -> None:
        """A batch with its statistics, both on the CPU."""
        scored = batch.targets.scored.numpy()
        nll = np.where(scored, np.nan_to_num(statistics.nll.double().numpy(), nan=np.inf), 0.0)
        self._by_token = self._kept(self._by_token, nll.max(axis=1), batch)
        self._by_document = self._kept(self._by_document, _worst_documents(batch, nll, scored), batch)
        self._seen += len(nll)

    def rows(self) -> list[PackedBatch]:
        """The worst first, by their documents and by their tokens in turn: one of 32 that were read, at least one."""
        both = zip_longest(self._by_document, self._by_token)
        different = {each.number: each.row for each in chain.from_iterable(both) if each is not None}
        return list(_within(list(different.values())[: max(1, min(_MOST, self._seen // _SHARE))]))

    def _kept(self, known: list[_Candidate], values: npt.NDArray[np.float64], batch: PackedBatch) -> list[_Candidate]:
        least = known[-1].value if len(known) == _MOST else -1.0
        new = [
            _Candidate(value=float(values[number]), number=self._seen + number, row=batch.row(number))
            for number in np.flatnonzero(values > least).tolist()
        ]
        return sorted([*known, *new], key=lambda each: (-each.value, each.number))[:_MOST]


def _worst_documents(
    batch: PackedBatch, nll: npt.NDArray[np.float64], scored: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """[R]: of each row the mean of its worst document."""
    begins = np.ones(scored.shape, np.bool_)
    document = batch.document.numpy()
    begins[:, 1:] = document[:, 1:] != document[:, :-1]
    number = begins.ravel().cumsum() - 1  # of the document in the batch
    sums, counts = np.bincount(number, nll.ravel()), np.bincount(number, scored.ravel())
    means = sums / np.maximum(counts, _LEAST)
    worst = np.zeros(len(nll))
    np.maximum.at(worst, np.flatnonzero(begins.ravel()) // nll.shape[1], means)
    return worst


def _within(rows: list[PackedBatch]) -> Iterator[PackedBatch]:
    """The first row, and those after it that have no more than so many tokens together."""
    tokens = 0
    for row in rows:
        tokens += row.ids.numel()
        if tokens > max(_MOST_TOKENS, rows[0].ids.numel()):
            return
        yield row
