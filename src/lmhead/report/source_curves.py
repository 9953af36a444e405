"""Training loss by source, as a report keeps it of a log however long: exact means over buckets of steps.

A bucket's loss of a source is its summed nats by its tokens, over all steps of the bucket: no mean of means.
"""

import math
from collections.abc import Mapping
from typing import Any, Final, final

import numpy as np

from lmhead.record.record import Line
from lmhead.report.decimation import Buckets, Column, DecimatedSteps

_MOST: Final = 64  # sources of a record; somebody's trainer may log any number
_DRAWN: Final = 12  # those with the most tokens
_BUCKETS: Final = 512
_SHARE: Final = 10  # the first and the last losses of a table are over such a part of the steps


@final
class SourceCurves:
    """The sources of a log's steps, line after line."""

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._steps = DecimatedSteps(_BUCKETS, most=2 * _MOST)

    def add(self, line: Line) -> None:
        """One more step."""
        sums: dict[str, float] = {}
        given = line.get("sources")
        for name, value in given.items() if isinstance(given, Mapping) else ():
            if _is_mean(value) and (name in self._names or len(self._names) < _MOST):
                number = self._names.setdefault(name, len(self._names))
                sums |= {f"nats {number}": float(value[0]) * value[1], f"tokens {number}": float(value[1])}
        if sums:
            self._steps.add({"step": line["step"], **sums})

    def go_back_to(self, step: int) -> None:
        """Forget what came after a step."""
        self._steps.go_back_to(step)

    def data(self, *, runs: int = 1) -> dict[str, Any] | None:
        """{"steps", "curves": {source: [means, tokens]}, "table": {source: [tokens, first, last]}}; None: none are.

        Sources with the most tokens come first, and only the first dozen have curves.
        """
        if not self._names:
            return None
        buckets = self._steps.buckets(max(64, _BUCKETS // runs))
        columns = {name: _sums(buckets, number) for name, number in self._names.items()}
        names = sorted(columns, key=lambda name: -float(columns[name][1].sum()))
        return {
            "steps": [int(step) for step in buckets.axes["step"].tolist()],
            "curves": {name: _curve(*columns[name]) for name in names[:_DRAWN]},
            "table": {name: _row(*columns[name]) for name in names},
        }


def _sums(buckets: Buckets, number: int) -> tuple[Column, Column]:
    """(nats, tokens) of a source in each bucket."""
    known = [buckets.curves.get(f"{what} {number}") for what in ("nats", "tokens")]
    nats, tokens = (np.zeros(len(buckets)) if curve is None else np.nan_to_num(curve.total) for curve in known)
    return nats, tokens


def _curve(nats: Column, tokens: Column) -> list[list[Any]]:
    return [[_mean(*pair) for pair in zip(nats, tokens, strict=True)], tokens.astype(np.int64).tolist()]


def _row(nats: Column, tokens: Column) -> list[float | None]:
    part = max(1, len(nats) // _SHARE)
    return [
        int(tokens.sum()),
        _mean(nats[:part].sum(), tokens[:part].sum()),
        _mean(nats[-part:].sum(), tokens[-part:].sum()),
    ]


def _mean(nats: float, tokens: float) -> float | None:
    return float(f"{nats / tokens:.6g}") if tokens else None


def _is_mean(value: Any) -> bool:
    """[nats a token, tokens]."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return False
    nll, tokens = value
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in value)
    return numbers and isinstance(tokens, int) and 0 < tokens < 2**53 and abs(nll) < 1e9 and math.isfinite(nll)
