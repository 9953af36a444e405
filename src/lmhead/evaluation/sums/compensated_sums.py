"""Compensated sums (Neumaier 1974): float64 sums of many numbers whose order does not show, to 1e-12 and better."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


class CompensatedSums:
    """Several sums side by side, each with what rounding took from it.

    Example:
        >>> sums = CompensatedSums(1)
        >>> for each in (1e16, 1.0, -1e16):
        ...     sums.add(np.array([each]))
        >>> sums.values.tolist()
        [1.0]
    """

    def __init__(self, size: int) -> None:
        self._high = np.zeros(size)
        self._low = np.zeros(size)

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """[size]."""
        return self._high + self._low

    def add(self, values: npt.NDArray[Any]) -> None:
        """Add one to each sum; further sums begin where there are more."""
        self._grow(len(values))
        high = self._high[: len(values)]
        total = high + values
        larger, smaller = np.where(abs(high) >= abs(values), (high, values), (values, high))
        self._low[: len(values)] += (larger - total) + smaller
        self._high[: len(values)] = total

    def merge(self, other: "CompensatedSums") -> None:
        """Add what another part has summed."""
        self.add(other._high)
        self._low[: len(other._low)] += other._low

    def state(self) -> list[list[float]]:
        """Everything, as plain numbers."""
        return [self._high.tolist(), self._low.tolist()]

    @staticmethod
    def from_state(state: Sequence[Sequence[float]]) -> "CompensatedSums":
        """The sums that `state` was taken of."""
        sums = CompensatedSums(0)
        sums._high, sums._low = (np.array(each, np.float64) for each in state)
        return sums

    def _grow(self, size: int) -> None:
        missing = max(0, size - len(self._high))
        self._high, self._low = (np.pad(each, (0, missing)) for each in (self._high, self._low))
