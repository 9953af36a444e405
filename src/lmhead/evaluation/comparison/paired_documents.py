"""PairedDocuments: documents that two models have scored, and what their differences come to."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from lmhead.evaluation.comparison.comparison import DocumentDifference, Side, SourceDifference
from lmhead.evaluation.comparison.figure import Figure
from lmhead.evaluation.intervals.interval import Interval
from lmhead.evaluation.intervals.ratio_interval import Ratio, ratio_interval
from lmhead.evaluation.sums.document_sums import DocumentSums

_POINTS: Final = 400  # of the sorted differences that are kept
_EXTREMES: Final = 5  # documents on each side
Pair = tuple[DocumentSums, DocumentSums]
Column = npt.NDArray[np.float64]


class PairedDocuments:
    """Pairs of sums of the same bytes (or tokens), compared by one figure.

    Args:
        level, resamples, seed: of each interval.
    """

    def __init__(self, pairs: Sequence[Pair], figure: Figure, *, level: float, resamples: int, seed: int) -> None:
        self._pairs, self._figure = pairs, figure
        self._level, self._resamples, self._seed = level, resamples, seed
        self._scores = np.array([[self._score(each) for each in pair] for pair in pairs], np.float64)  # [n, 2]
        self._sizes = np.array([self._size(pair[0]) for pair in pairs], np.float64)

    def __len__(self) -> int:
        return len(self._pairs)

    def difference(self) -> Interval:
        """Second - first."""
        return self._interval(self._scores, self._sizes)

    def side(self, which: int, name: str, tokenizer: str | None) -> Side:
        """The first (0) or the second (1) of each pair, added up."""
        documents = [pair[which] for pair in self._pairs]
        sizes = [document.bytes for document in documents]
        return Side(
            name=name,
            value=math.fsum(self._scores[:, which]) / math.fsum(self._sizes),
            nll_sum=math.fsum(document.nll for document in documents),
            tokens=sum(document.tokens for document in documents),
            bytes=None if None in sizes else sum(size or 0 for size in sizes),
            tokenizer=tokenizer,
        )

    def wins(self) -> tuple[int, int]:
        """Documents on which the second is better, and the first."""
        gain = self._scores[:, 0] - self._scores[:, 1]
        gain = gain if self._figure.lower_is_better else -gain
        return int((gain > 0).sum()), int((gain < 0).sum())

    def perplexity_ratio(self) -> tuple[float, float | None, float | None]:
        """Second / first, and what it lies in; of models that share a tokenizer."""
        nll = np.array([[each.nll for each in pair] for pair in self._pairs])
        made = self._interval(nll, np.array([pair[0].tokens for pair in self._pairs], np.float64))
        low, high = (None if end is None or end > 700 else math.exp(end) for end in (made.low, made.high))
        return math.exp(min(made.value, 700.0)), low, high

    def by_source(self) -> tuple[SourceDifference, ...]:
        """Sources of two documents or more, as the first has them, in their order; none where there is one source."""
        places: dict[str, list[int]] = {}
        for place, (document, _) in enumerate(self._pairs):
            places.setdefault(document.source, []).append(place)
        if len(places) < 2:
            return ()
        return tuple(
            self._of_source(source, of) for source, of in places.items() if np.count_nonzero(self._sizes[of]) > 1
        )

    def _of_source(self, source: str, of: list[int]) -> SourceDifference:
        scores, sizes = self._scores[of], self._sizes[of]
        total = math.fsum(sizes)
        return SourceDifference(
            source=source,
            first=math.fsum(scores[:, 0]) / total,
            second=math.fsum(scores[:, 1]) / total,
            difference=self._interval(scores, sizes),
        )

    def points(self) -> tuple[float, ...]:
        """Differences of documents from the least to the largest; of many, as many quantiles as a picture shows."""
        values = np.sort(self._values()[0])
        if len(values) > _POINTS:
            values = np.quantile(values, np.linspace(0, 1, _POINTS))
        return tuple(values.tolist())

    def extremes(self) -> tuple[DocumentDifference, ...]:
        """The documents with the least and the largest differences, least first."""
        values, at = self._values()
        order = np.argsort(values, kind="stable")
        ends = order if len(order) <= 2 * _EXTREMES else np.concatenate([order[:_EXTREMES], order[-_EXTREMES:]])
        return tuple(
            DocumentDifference(name=self._pairs[at[place]][0].name, value=float(values[place])) for place in ends
        )

    def _values(self) -> tuple[Column, npt.NDArray[np.intp]]:
        """Of each document that has a size, its difference, and its place."""
        at = np.flatnonzero(self._sizes)
        return (self._scores[at, 1] - self._scores[at, 0]) / self._sizes[at], at

    def _score(self, document: DocumentSums) -> float:
        if self._figure.name == "accuracy":
            return document.hits
        return document.nll / math.log(2) if self._figure.of_bytes else document.nll

    def _size(self, document: DocumentSums) -> float:
        return float((document.bytes or 0) if self._figure.of_bytes else document.tokens)

    def _interval(self, scores: Column, sizes: Column) -> Interval:
        ratio = Ratio(numerators=scores[:, 1] - scores[:, 0], denominators=sizes, kind="difference")
        return ratio_interval(ratio, level=self._level, resamples=self._resamples, seed=self._seed)
