"""Decimation: the curves of any number of steps in a few thousand buckets, each with its mean, minimum and maximum.

A bucket holds `width` successive lines. When there are twice as many buckets as wanted, neighbours are joined and the
width doubles: no extreme is lost, and a line costs the same however many came before it.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

BUCKETS: Final = 4096  # of a run; up to twice as many until they are joined
AXES: Final = ("step", "tokens", "seconds")  # what curves are drawn over
_MOST_CURVES: Final = 24  # somebody's trainer may log hundreds of figures
_BLOCK: Final = 32_768  # lines that are put into buckets at once
Column = npt.NDArray[np.float64]


@dataclass(slots=True, kw_only=True)
class Curve:
    """One figure, by bucket; NaN and a count of 0 where no line of the bucket has it."""

    total: Column
    count: Column
    low: Column
    high: Column

    def mean(self) -> Column:
        """[buckets]"""
        return np.divide(self.total, self.count, out=np.full_like(self.total, np.nan), where=self.count > 0)


@dataclass(slots=True, kw_only=True)
class Buckets:
    """Curves over the same buckets."""

    axes: dict[str, Column]  # of the last line of each bucket
    curves: dict[str, Curve]
    width: int

    def __len__(self) -> int:
        return len(self.axes["step"])

    def joined(self, factor: int) -> "Buckets":
        """Every `factor` successive buckets as one; the last may be of fewer."""
        starts = np.arange(0, len(self), factor)
        lasts = np.minimum(starts + factor, len(self)) - 1
        return Buckets(
            axes={name: column[lasts] for name, column in self.axes.items()},
            curves={name: _joined(curve, starts) for name, curve in self.curves.items()},
            width=self.width * factor,
        )

    def followed_by(self, more: "Buckets") -> "Buckets":
        """These, then those, of the same width (but for the last one)."""
        return Buckets(
            axes={name: np.concatenate([self.axes[name], more.axes[name]]) for name in AXES},
            curves={
                name: _appended(self.curves.get(name), more.curves.get(name), len(self), len(more))
                for name in [*self.curves, *(name for name in more.curves if name not in self.curves)]
            },
            width=self.width,
        )


@final
class DecimatedSteps:
    """The curves of a log's steps, line after line."""

    def __init__(self, limit: int = BUCKETS, *, most: int = _MOST_CURVES) -> None:
        self.limit = limit
        self._most = most
        self.lines = 0
        self._buckets = _buckets_of((), 1, most=most)
        self._pending: list[Mapping[str, Any]] = []  # not in a bucket yet

    def add(self, line: Mapping[str, Any]) -> None:
        """One more step."""
        self._pending.append(line)
        self.lines += 1
        if len(self._pending) >= _BLOCK:
            self._settle()

    def go_back_to(self, step: int) -> None:
        """Forget what came after a step: a trainer that was resumed logs it again."""
        self._settle()
        self._pending = [line for line in self._pending if line["step"] <= step]
        kept = int(np.searchsorted(self._buckets.axes["step"], step, side="right"))
        if kept < len(self._buckets):
            self._buckets = Buckets(
                axes={name: column[:kept] for name, column in self._buckets.axes.items()},
                curves={name: _cut(curve, kept) for name, curve in self._buckets.curves.items()},
                width=self._buckets.width,
            )

    def buckets(self, limit: int | None = None) -> Buckets:
        """All lines up to now, in at most 2 * limit buckets."""
        self._settle()
        made = self._buckets
        if self._pending:
            made = made.followed_by(_buckets_of(self._pending, made.width, made.curves, most=self._most))
        while len(made) > 2 * (limit or self.limit):
            made = made.joined(2)
        return made

    def _settle(self) -> None:
        """Put whole buckets of what is pending into place."""
        width = self._buckets.width
        whole = len(self._pending) // width * width
        if whole:
            fresh = _buckets_of(self._pending[:whole], width, self._buckets.curves, most=self._most)
            self._buckets, self._pending = self._buckets.followed_by(fresh), self._pending[whole:]
        while len(self._buckets) >= 2 * self.limit:
            self._buckets = self._buckets.joined(2)


def _buckets_of(lines: Sequence[Mapping[str, Any]], width: int, known: Collection[str] = (), *, most: int) -> Buckets:
    """Lines, `width` to a bucket."""
    starts = np.arange(0, len(lines), width)
    lasts = [lines[min(start + width, len(lines)) - 1] for start in starts.tolist()]
    return Buckets(
        axes={name: _column(lasts, name) for name in AXES},
        curves={name: _curve(_column(lines, name), starts) for name in _names(lines, known, most)},
        width=width,
    )


def _names(lines: Iterable[Mapping[str, Any]], known: Collection[str], most: int) -> list[str]:
    """The figures of lines, in the order in which they come; of a trainer that logs hundreds the first ones."""
    found = dict.fromkeys(known)
    for keys in dict.fromkeys(tuple(line) for line in lines):  # lines are alike
        found |= dict.fromkeys(keys)
    return [name for name in found if name not in AXES][:most]


def _column(lines: Sequence[Mapping[str, Any]], name: str) -> Column:
    """[lines] a figure of each line; NaN where it has none, or none that is finite."""
    column = np.array([_number(line.get(name)) for line in lines], dtype=np.float64)
    column[~np.isfinite(column)] = np.nan
    return column


def _number(value: object) -> float:
    if isinstance(value, float):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.nan
    return math.nan


def _curve(column: Column, starts: npt.NDArray[np.int64]) -> Curve:
    known = np.isfinite(column)
    if not len(column):
        return Curve(total=column, count=column, low=column, high=column)
    return Curve(
        total=np.add.reduceat(np.where(known, column, 0.0), starts),
        count=np.add.reduceat(known.astype(np.float64), starts),
        low=np.fmin.reduceat(column, starts),
        high=np.fmax.reduceat(column, starts),
    )


def _joined(curve: Curve, starts: npt.NDArray[np.int64]) -> Curve:
    return Curve(
        total=np.add.reduceat(curve.total, starts),
        count=np.add.reduceat(curve.count, starts),
        low=np.fmin.reduceat(curve.low, starts),
        high=np.fmax.reduceat(curve.high, starts),
    )


def _appended(first: Curve | None, second: Curve | None, before: int, after: int) -> Curve:
    """One behind the other, NaN where there was none."""
    first, second = first or _nothing(before), second or _nothing(after)
    return Curve(
        **{
            name: np.concatenate([getattr(first, name), getattr(second, name)])
            for name in ("total", "count", "low", "high")
        }
    )


def _nothing(count: int) -> Curve:
    missing = np.full(count, np.nan)
    return Curve(total=np.zeros(count), count=np.zeros(count), low=missing, high=missing)


def _cut(curve: Curve, count: int) -> Curve:
    return Curve(total=curve.total[:count], count=curve.count[:count], low=curve.low[:count], high=curve.high[:count])
