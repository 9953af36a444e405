"""Where each of two models is better: by the position in a document, and by what the bytes are."""

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lmhead.evaluation.comparison.shared_spans import shared_spans
from lmhead.evaluation.intervals.interval import Interval
from lmhead.evaluation.intervals.ratio_interval import LEVEL, RESAMPLES, Ratio, ratio_intervals
from lmhead.evaluation.scores.byte_losses import BYTE_KINDS, ByteLosses

POSITIONS: Final = (0, 64, 256, 1024, 4096, 16384, 65536)  # bytes of a document before the span: factors of four
_CELLS: Final = len(POSITIONS) + len(BYTE_KINDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceDifference:
    """Of the spans of one kind."""

    name: str
    bytes: int
    first: float  # bits per byte
    second: float
    difference: Interval  # second - first, in bits per byte

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanComparison:
    """Two models over the spans between bytes at which tokens of both end."""

    spans: int
    tokens_first: int
    tokens_second: int
    second_better: int  # spans
    first_better: int
    bytes: int
    bytes_second_better: int  # bytes of these spans
    positions: tuple[PlaceDifference, ...]  # by bytes of the document before the span
    kinds: tuple[PlaceDifference, ...]  # by the first byte that is no white space
    unaligned: int  # documents that both have, of which it is not known where tokens end

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class SpanSums:
    """Adds up the spans of one document after the other; a few hundred bytes of memory for each."""

    def __init__(self) -> None:
        self._cells: list[npt.NDArray[np.float64]] = []  # [cells, 3] each: bytes, nats of the first, of the second
        self._counts = dict.fromkeys(
            ("spans", "tokens_first", "tokens_second", "second_better", "first_better", "bytes", "bytes_second_better"),
            0,
        )
        self._unaligned = 0

    def add(self, first: ByteLosses | None, second: ByteLosses | None) -> None:
        """A document that both have read; None: it is not known where its tokens end.

        Raises:
            ArgumentError: the two are not of the same bytes.
        """
        if first is None or second is None:
            self._unaligned += 1
            return
        if first.size == second.size == 0:
            return
        spans = shared_spans(first, second)
        sizes = np.diff(spans.ends, prepend=0)
        better = spans.second < spans.first
        for name, count in (
            ("spans", len(sizes)),
            ("tokens_first", len(first.nll)),
            ("tokens_second", len(second.nll)),
            ("second_better", better.sum()),
            ("first_better", (spans.first < spans.second).sum()),
            ("bytes", sizes.sum()),
            ("bytes_second_better", sizes[better].sum()),
        ):
            self._counts[name] += int(count)
        position = np.searchsorted(POSITIONS, spans.starts, side="right") - 1
        cells = np.zeros((_CELLS, 3))
        for column, values in enumerate((sizes, spans.first, spans.second)):
            cells[: len(POSITIONS), column] = np.bincount(position, values, len(POSITIONS))
            cells[len(POSITIONS) :, column] = np.bincount(spans.kinds, values, len(BYTE_KINDS))
        self._cells.append(cells)

    def comparison(self, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0) -> SpanComparison | None:
        """What it comes to; None: no document is aligned."""
        if not self._cells:
            return None
        cells = np.stack(self._cells)
        names = [f"{low:,} to {high:,}" for low, high in pairwise(POSITIONS)] + [f"{POSITIONS[-1]:,} and more"]
        held = [place for place in range(_CELLS) if cells[:, place, 0].any()]
        ratios = [_ratio(cells[:, place]) for place in held]
        intervals = ratio_intervals(ratios, level=level, resamples=resamples, seed=seed)
        made = [
            _difference([*names, *BYTE_KINDS][place], cells[:, place], interval)
            for place, interval in zip(held, intervals, strict=True)
        ]
        return SpanComparison(
            **self._counts,
            positions=tuple(each for each in made if each.name in names),
            kinds=tuple(each for each in made if each.name in BYTE_KINDS),
            unaligned=self._unaligned,
        )


def _ratio(sums: npt.NDArray[np.float64]) -> Ratio:
    sizes, first, second = sums.T
    return Ratio(numerators=(second - first) / math.log(2), denominators=sizes, kind="difference")


def _difference(name: str, sums: npt.NDArray[np.float64], difference: Interval) -> PlaceDifference:
    sizes, first, second = sums.T
    total = math.fsum(sizes) * math.log(2)
    return PlaceDifference(
        name=name,
        bytes=int(sizes.sum()),
        first=math.fsum(first) / total,
        second=math.fsum(second) / total,
        difference=difference,
    )
