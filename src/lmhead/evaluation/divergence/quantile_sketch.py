"""QuantileSketch: quantiles of any number of values >= 0 to 0.5 %, in a table that does not grow with them.

Bins grow by a factor, so that a quantile anywhere in them is right to half of it, however far a tail reaches: KL of a
quantised model goes from 1e-9 to 10 nats. Two sketches add up to that of all values, in any order, to the last count.

Source: Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees"
(VLDB 2019), whose accuracy is ALPHA here.
"""

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

ALPHA: Final = 0.005
_LOG_GAMMA: Final = math.log((1 + ALPHA) / (1 - ALPHA))
_LEAST: Final = 1e-12  # what is less counts as 0


class QuantileSketch:
    """Counts of values by their size.

    Example:
        >>> sketch = QuantileSketch()
        >>> sketch.add(np.arange(1001.0))
        >>> abs(sketch.quantile(0.9) / 900 - 1) <= ALPHA
        True
    """

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._zeros = 0
        self.count = 0

    def add(self, values: npt.NDArray[np.floating[Any]]) -> None:
        """Count values [N]; infinite ones are the largest, and NaN is refused by an assertion."""
        assert not np.isnan(values).any(), "a NaN has no place among others"
        large = values[values >= _LEAST]
        bounded = np.minimum(large.astype(np.float64), np.finfo(np.float64).max)
        bins, counts = np.unique(np.ceil(np.log(bounded) / _LOG_GAMMA).astype(np.int64), return_counts=True)
        for number, count in zip(bins.tolist(), counts.tolist(), strict=True):
            self._counts[number] = self._counts.get(number, 0) + count
        self._zeros += len(values) - len(large)
        self.count += len(values)

    def merge(self, other: "QuantileSketch") -> None:
        """Count what another one counted too."""
        for number, count in other._counts.items():
            self._counts[number] = self._counts.get(number, 0) + count
        self._zeros += other._zeros
        self.count += other.count

    def quantile(self, share: float) -> float:
        """The value that `share` of all are at most, to 0.5 %; of nothing NaN."""
        if not self.count:
            return math.nan
        left = share * (self.count - 1) - self._zeros
        if left < 0:
            return 0.0
        for number in sorted(self._counts):
            left -= self._counts[number]
            if left < 0:
                return math.exp(number * _LOG_GAMMA) * (1 - ALPHA)
        raise AssertionError("some bin holds the last value")

    def to_json(self) -> dict[str, Any]:
        """The state, for a file."""
        return {
            "alpha": ALPHA,
            "zeros": self._zeros,
            "bins": {str(key): self._counts[key] for key in sorted(self._counts)},
        }

    @staticmethod
    def from_json(state: dict[str, Any]) -> "QuantileSketch":
        """What `to_json` wrote."""
        assert state["alpha"] == ALPHA, "bins of another width"
        made = QuantileSketch()
        made._counts = {int(key): int(count) for key, count in state["bins"].items()}
        made._zeros = int(state["zeros"])
        made.count = made._zeros + sum(made._counts.values())
        return made
