"""Figures of a card out of totals."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from lmhead.errors import InputError
from lmhead.evaluation.card.conditions import Counts
from lmhead.evaluation.card.figures import (
    Answers,
    Calibration,
    CalibrationBin,
    ClassFigures,
    Figures,
    Quantiles,
    SourceFigures,
)
from lmhead.evaluation.card.shown_sources import shown_sources
from lmhead.evaluation.position_bands import position_bands
from lmhead.evaluation.sums.answer_sums import TURNS
from lmhead.evaluation.sums.calibration_sums import BINS
from lmhead.evaluation.sums.compensated_sums import CompensatedSums
from lmhead.evaluation.sums.counted import RESOLUTION, Counted
from lmhead.evaluation.sums.evaluation_totals import EvaluationTotals
from lmhead.evaluation.sums.numbered_sums import NumberedSums
from lmhead.labels.targets import Reason

SHARES: Final = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_TOP: Final = (5, 10, 100)
_TURNS: Final = (*(str(number) for number in range(1, TURNS)), f"{TURNS} and later")


def made_of(totals: EvaluationTotals) -> dict[str, Any]:
    """Fields of a card.

    Raises:
        InputError: no token was scored.
    """
    if totals.tokens == 0:
        raise InputError(f"no token scored: {_why_none(totals)}")
    return {
        "figures": _figures(totals),
        "calibration": _calibration(totals),
        "ranks": _quantiles(totals.ranks),
        "entropy": _quantiles(totals.entropies),
        "nll": _quantiles(totals.nlls),
        "sources": tuple(_sources(totals)),
        "positions": _classes(totals.positions, position_bands()),
        "turns": _classes(totals.answers.turns, _TURNS),
        "answers": _answers(totals),
        "counts": Counts(
            tokens=totals.all_tokens,
            scored=totals.tokens,
            skipped=totals.skipped,
            documents=totals.documents,
            empty=totals.empty,
            windowed=totals.windowed,
            positions=totals.positions_read,
            longest=totals.longest,
        ),
    }


def bits_per_byte(nll: float, num_bytes: int | None) -> float | None:
    """Summed nats over bytes, in bits; None where there are no bytes."""
    return nll / math.log(2) / num_bytes if num_bytes else None


def _figures(totals: EvaluationTotals) -> Figures:
    nll = totals.nll / totals.tokens
    return Figures(
        tokens=totals.tokens,
        nll_sum=totals.nll,
        nll=nll,
        perplexity=math.exp(nll) if nll < math.log(1e308) else None,
        bytes=totals.bytes,
        bits_per_byte=bits_per_byte(totals.nll, totals.bytes),
        no_bits=_no_bits(totals),
        accuracy=totals.hits / totals.tokens,
        hits=totals.hits,
        top={str(rank): totals.ranks.below(rank) / totals.tokens for rank in _TOP},
    )


def _no_bits(totals: EvaluationTotals) -> str | None:
    """Why there are no bits per byte."""
    if totals.unmeasured:
        return (
            f"the tokens of {totals.unmeasured:,} of {totals.documents:,} documents do not give their text back, so "
            "nobody knows which bytes they stand for"
        )
    return None if totals.bytes else "the scored tokens stand for no byte of text"


def _calibration(totals: EvaluationTotals) -> Calibration:
    sums = totals.calibration
    confidence = sums.confidence.values.tolist()
    bins = (
        CalibrationBin(
            low=place / BINS,
            high=(place + 1) / BINS,
            tokens=tokens,
            confidence=confidence[place] / tokens if tokens else None,
            accuracy=hits / tokens if tokens else None,
        )
        for place, (tokens, hits) in enumerate(zip(sums.tokens.tolist(), sums.hits.tolist(), strict=True))
    )
    return Calibration(error=sums.error(), confidence=sum(confidence) / totals.tokens, bins=tuple(bins))


def _quantiles(counted: Counted) -> Quantiles:
    return Quantiles(
        shares=SHARES,
        values=counted.quantiles(SHARES),
        largest=counted.largest,
        resolution=RESOLUTION[counted.kind],
    )


def _sources(totals: EvaluationTotals) -> list[SourceFigures]:
    """The one with the most tokens first."""
    every = list(totals.sources)
    shown = shown_sources({name: counts["tokens"] for name, _, counts in every})
    groups: dict[str, _Group] = {}
    for name, nll, counts in every:
        groups.setdefault(shown[name], _Group()).add(nll, counts)
    made = [group.figures(name) for name, group in groups.items()]
    return sorted(made, key=lambda each: (-each.tokens, each.source))


class _Group:
    """Sums of sources that are shown as one."""

    def __init__(self) -> None:
        self._sources = 0
        self._nll = CompensatedSums(1)
        self._counts: Counter[str] = Counter()

    def add(self, nll: float, counts: Mapping[str, int]) -> None:
        """One more source."""
        self._sources += 1
        self._nll.add(np.array([nll]))
        self._counts.update(counts)

    def figures(self, name: str) -> SourceFigures:
        """Of all of them."""
        counts, tokens, nll = self._counts, self._counts["tokens"], float(self._nll.values[0])
        num_bytes = None if counts["unmeasured"] else counts["bytes"]
        return SourceFigures(
            source=name,
            sources=self._sources,
            documents=counts["documents"],
            tokens=tokens,
            nll_sum=nll,
            nll=nll / tokens if tokens else None,
            hits=counts["hits"],
            accuracy=counts["hits"] / tokens if tokens else None,
            bytes=num_bytes,
            bits_per_byte=bits_per_byte(nll, num_bytes),
        )


def _classes(sums: NumberedSums, names: tuple[str, ...] | list[str]) -> tuple[ClassFigures, ...]:
    """Those that have tokens."""
    columns = (names, sums.tokens.tolist(), sums.nll.values.tolist(), sums.hits.tolist())
    return tuple(
        ClassFigures(name=name, tokens=tokens, nll=nll / tokens, accuracy=hits / tokens)
        for name, tokens, nll, hits in zip(*columns, strict=True)
        if tokens
    )


def _answers(totals: EvaluationTotals) -> Answers | None:
    sums = totals.answers
    if not sums.answers:
        return None
    first = float(sums.first_nll.values[0]) / sums.answers
    return Answers(answers=sums.answers, exact=sums.exact, first_nll=first)


def _why_none(totals: EvaluationTotals) -> str:
    if not totals.documents:
        return "there is no document"
    if not totals.skipped:
        return f"the {totals.documents:,} documents are empty"
    told = {Reason[name.upper()]: count for name, count in totals.skipped.items()}
    most = max(told, key=lambda reason: told[reason])
    return (
        f"of {totals.all_tokens:,} tokens in {totals.documents:,} documents none is to be predicted; most are skipped "
        f"for {most.name.lower()}: give data with answers to score, or longer texts"
    )
