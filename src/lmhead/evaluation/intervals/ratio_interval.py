"""Confidence intervals of ratios of sums (nll / bytes, hits / tokens) by a bootstrap over documents.

Tokens of one document are alike, so documents are the unit (a cluster bootstrap): what is drawn is whole documents, and
the ratio of sums is made anew of each draw. Of the forms of the bootstrap, the symmetric studentised one is taken: how
far the ratio of a draw is from the ratio, in standard errors of that draw. benchmarks/interval_coverage.py measures how
often it and the others hold what they say, docs/seeing/evaluation.md has the figures.

Hall, The Bootstrap and Edgeworth Expansion (1992), chapter 3; Cochran, Sampling Techniques (1977), chapter 6.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from lmhead.errors import require
from lmhead.evaluation.intervals.interval import FEW, Interval, Method
from lmhead.evaluation.intervals.resampled_sums import resampled_sums
from lmhead.evaluation.intervals.student import student_level, student_quantile

RESAMPLES: Final = 10_000
LEVEL: Final = 0.95
ENOUGH: Final = 3_000  # effective documents, of which Student's t is as wide as the bootstrap (within 1 %)
SMALLEST: Final = 6  # of fewer, too many draws are of one document over and over, whose standard error is 0
_COLUMNS: Final = 5  # of each ratio
_MOST: Final = 0.5  # of the variance, that one document may make
_ROUNDING: Final = 1e-12  # of the ratio: standard errors below it are 0

Kind = Literal["amount", "share", "difference"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ratio:
    """A figure that is sum(numerators) / sum(denominators), with one entry of each for each document."""

    numerators: npt.NDArray[np.float64]  # [n]
    denominators: npt.NDArray[np.float64]  # [n], >= 0: the size of the document
    kind: Kind = "amount"  # share: of parts counted, in [0, 1]; difference: has a p

    @property
    def value(self) -> float:
        """The ratio, whatever the order of the documents."""
        return math.fsum(self.numerators) / math.fsum(self.denominators)


def ratio_intervals(
    ratios: Sequence[Ratio], *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> list[Interval]:
    """The interval of each ratio; all are of the same documents, which are drawn once for all of them.

    The same documents in another order give the same bits; numerators of the other sign give the other sign.

    Raises:
        ArgumentError: an entry is not finite, a denominator is negative, or all of them are 0.

    Example:
        >>> nll, bytes = np.array([30.0, 10.0, 25.0, 12.0]), np.array([12.0, 6.0, 11.0, 5.0])
        >>> (interval,) = ratio_intervals([Ratio(numerators=nll, denominators=bytes)])
        >>> f"{interval.value:.3f} in [{interval.low:.3f}, {interval.high:.3f}]"
        '2.265 in [1.762, 2.767]'
    """
    require(0 < level < 1, "level", "be in (0, 1)", level)
    require(resamples >= 1, "resamples", "be >= 1", resamples)
    for ratio in ratios:
        _check(ratio)
    linear = [_Linear(ratio) for ratio in ratios]
    draws = _draws(linear, resamples, seed)
    return [_interval(each, drawn, level) for each, drawn in zip(linear, draws, strict=True)]


def ratio_interval(ratio: Ratio, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """The interval of one ratio, as `ratio_intervals` gives it."""
    return ratio_intervals([ratio], level=level, resamples=resamples, seed=seed)[0]


class _Linear:
    """A ratio, and its residuals, numerator - ratio * denominator: what it is to first order in the documents."""

    def __init__(self, ratio: Ratio) -> None:
        self.kind, self.value = ratio.kind, ratio.value
        self.sign = -1.0 if self.value < 0 else 1.0  # so that the other sign is drawn as this one is
        self.x, self.size = self.sign * ratio.numerators, ratio.denominators
        self.one_sign = bool((self.x >= 0).all())
        counted = (self.x != 0) | (self.size != 0)
        self.n = int(np.count_nonzero(counted))
        total = math.fsum(self.size)
        self.share = self.size / total
        self.documents = int(np.count_nonzero(self.size))
        self.effective = 1 / math.fsum(self.share**2)
        residuals = self.x / total - abs(self.value) * self.share
        squares = residuals**2
        self.one = float(squares.max() / squares.sum()) if squares.any() else 0.0  # one document's part
        if 1 < self.documents < SMALLEST:  # the jackknife's: by how the ratio differs when one is left out
            residuals = (residuals / (1 - self.share))[counted]
            residuals = residuals - math.fsum(residuals) / self.n
            variance = math.fsum(residuals**2) * (self.n - 1) / self.n
        else:
            variance = math.fsum(residuals**2) * self.n / max(1, self.n - 1)
        error = math.sqrt(variance)
        self.error = 0.0 if error <= _ROUNDING * abs(self.value) else error

    @property
    def drawn(self) -> bool:
        """It is to be resampled."""
        return self.documents >= SMALLEST and self.effective < ENOUGH and self.error > 0

    def columns(self) -> npt.NDArray[np.float64]:
        """[n, 5]: what a draw's ratio and its standard error are made of. Residuals stand for numerators: no digits
        are lost where documents are nearly alike."""
        e, b = self.x - abs(self.value) * self.size, self.size
        return np.stack([e, b, e * e, e * b, b * b], axis=1)

    def distances(self, sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """[R] |ratio of the draw - ratio| in standard errors of the draw; infinite where these are 0; sorted."""
        e, b, ee, eb, bb = sums.T
        with np.errstate(divide="ignore", invalid="ignore"):
            off = e / b
            squares = ee - 2 * off * eb + off * off * bb
            squares[squares <= (_ROUNDING * off * b) ** 2] = 0.0
            t: npt.NDArray[np.float64] = np.abs(e) / np.sqrt(squares * (self.n / (self.n - 1)))
        t[np.isnan(t)] = np.where(b > 0, 0.0, np.inf)[np.isnan(t)]
        t.sort()
        return t


def _draws(linear: Sequence[_Linear], resamples: int, seed: int) -> list[npt.NDArray[np.float64] | None]:
    """Of each ratio that is to be resampled, the sorted distances of its draws."""
    chosen = [each for each in linear if each.drawn]
    if not chosen:
        return [None] * len(linear)
    columns = np.concatenate([each.columns() for each in chosen], axis=1)
    columns = columns[columns.any(axis=1)]
    columns = np.ascontiguousarray(columns[np.lexsort(columns.T)])  # by what they are, not by where they stand
    sums = iter(np.hsplit(resampled_sums(columns, resamples=resamples, seed=seed), len(chosen)))
    return [each.distances(next(sums)) if each.drawn else None for each in linear]


def _interval(linear: _Linear, drawn: npt.NDArray[np.float64] | None, level: float) -> Interval:
    value, error = linear.value, linear.error
    if linear.documents < 2:
        what = "one document" if linear.documents == linear.n else "one document with any size"
        note = f"{what}: how much documents differ is not known, so there is no interval"
        return _made(linear, level, None, None, None, None, note)
    method, critical, p = _critical(linear, drawn, level)
    if linear.kind == "share":
        low, high = _wilson(value, error, linear.effective, critical)
    else:
        low, high = value - critical * error, value + critical * error
        if linear.kind == "amount" and linear.one_sign:  # what is never negative has no mean below 0
            low, high = (max(0.0, low), high) if value >= 0 else (low, min(0.0, high))
    return _made(linear, level, low, high, method, p if linear.kind == "difference" else None, _caution(linear))


def _critical(linear: _Linear, drawn: npt.NDArray[np.float64] | None, level: float) -> tuple[Method, float, float]:
    """How many standard errors the interval is wide on each side, and p of the ratio being 0."""
    distance = abs(linear.value) / linear.error if linear.error else (math.inf if linear.value else 0.0)
    if drawn is not None:
        place = math.ceil(level * (len(drawn) + 1)) - 1
        if place < len(drawn) and math.isfinite(drawn[place]):
            beyond = len(drawn) - int(np.searchsorted(drawn, distance))
            return "bootstrap", float(drawn[place]), (1 + beyond) / (1 + len(drawn))
    freedom = linear.n - 1
    return "student", student_quantile(level, freedom), 1 - student_level(distance, freedom)


def _wilson(share: float, error: float, effective: float, critical: float) -> tuple[float, float]:
    """Wilson's interval of as many independent trials as would have this standard error: it stays in [0, 1], and is
    not of width 0 where all of few were hits."""
    spread = share * (1 - share)
    trials = spread / error**2 if error > 0 and spread > 0 else effective
    weight = critical**2 / trials
    middle = (share + weight / 2) / (1 + weight)
    half = math.sqrt(weight * (spread + weight / 4)) / (1 + weight)
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def _caution(linear: _Linear) -> str:
    if linear.documents < FEW:
        return f"only {linear.documents} documents: the interval is rough; {FEW} or more make it dependable"
    if linear.effective < FEW / 2:
        return (
            f"{linear.documents} documents weigh as {linear.effective:.0f} of one size (the longest is "
            f"{100 * linear.share.max():.0f} % of all): the interval is rough"
        )
    if linear.one > _MOST:
        return f"one document makes {100 * linear.one:.0f} % of the variance: the interval is rough"
    return ""


def _made(
    linear: _Linear,
    level: float,
    low: float | None,
    high: float | None,
    method: Method | None,
    p: float | None,
    note: str,
) -> Interval:
    return Interval(
        value=linear.value,
        low=low,
        high=high,
        level=level,
        documents=linear.documents,
        effective=linear.effective,
        method=method,
        p=p,
        note=note,
    )


def _check(ratio: Ratio) -> None:
    for name, column in (("numerators", ratio.numerators), ("denominators", ratio.denominators)):
        bad = ~np.isfinite(column)
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            require(False, name, "be finite", f"{column[at]} for document {at + 1} of {len(column)}")
    require(bool((ratio.denominators >= 0).all()), "denominators", "be >= 0", ratio.denominators.min(initial=0))
    require(bool((ratio.denominators > 0).any()), "denominators", "have one > 0", "none", "no ratio can be made")
