"""Intervals of an evaluation's headline, in all and by source: bits per byte, nll per token, accuracy."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmhead.errors import require
from lmhead.evaluation.intervals.interval import Interval
from lmhead.evaluation.intervals.ratio_interval import LEVEL, RESAMPLES, Ratio, ratio_intervals
from lmhead.evaluation.sums.document_sums import DocumentSums


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentIntervals:
    """Of documents: each figure with its interval; None where the figure itself cannot be had."""

    bits_per_byte: Interval | None  # None: the bytes of a document are not known, or there are none
    nll: Interval | None  # nats per scored token; None: no token is scored
    accuracy: Interval | None  # share of the scored tokens that were the most probable one

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            name: None if interval is None else interval.to_dict()
            for name, interval in (
                ("bits_per_byte", self.bits_per_byte),
                ("nll", self.nll),
                ("accuracy", self.accuracy),
            )
        }


def document_intervals(
    documents: Iterable[DocumentSums], *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> DocumentIntervals:
    """The intervals of these documents' figures. Documents without a scored token count for nothing.

    Raises:
        ArgumentError: an nll is not finite.
    """
    scored = [document for document in documents if document.tokens]
    require_finite(scored)
    sizes = [document.bytes for document in scored]
    nll = np.array([document.nll for document in scored], np.float64)
    tokens = np.array([document.tokens for document in scored], np.float64)
    hits = np.array([document.hits for document in scored], np.float64)
    ratios = {}
    if scored:
        ratios["nll"] = Ratio(numerators=nll, denominators=tokens)
        ratios["accuracy"] = Ratio(numerators=hits, denominators=tokens, kind="share")
    if None not in sizes and any(sizes):
        ratios["bits_per_byte"] = Ratio(numerators=nll / math.log(2), denominators=np.array(sizes, np.float64))
    made = ratio_intervals(list(ratios.values()), level=level, resamples=resamples, seed=seed)
    found = dict(zip(ratios, made, strict=True))
    return DocumentIntervals(
        bits_per_byte=found.get("bits_per_byte"), nll=found.get("nll"), accuracy=found.get("accuracy")
    )


def intervals_by_source(
    documents: Iterable[DocumentSums], *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, DocumentIntervals]:
    """The same by source, in the order in which sources are met."""
    sources: dict[str, list[DocumentSums]] = {}
    for document in documents:
        sources.setdefault(document.source, []).append(document)
    return {
        source: document_intervals(of, level=level, resamples=resamples, seed=seed) for source, of in sources.items()
    }


def require_finite(documents: Sequence[DocumentSums]) -> None:
    """Raise ArgumentError where a document's nll is NaN or infinite."""
    for document in documents:
        if not math.isfinite(document.nll):
            require(
                False,
                f"nll of {document.name}",
                "be finite",
                document.nll,
                "a loss is a number: look at it with lmhead eval --audit",
            )
