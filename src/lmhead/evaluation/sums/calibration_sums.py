"""Calibration (Guo et al. 2017): whether the most probable token is right as often as its probability says."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lmhead.evaluation.sums.compensated_sums import CompensatedSums

BINS: Final = 15


class CalibrationSums:
    """Bins of equal width over the probability of the most probable token: ((b - 1) / 15, b / 15].

    Example:
        >>> sums = CalibrationSums()
        >>> sums.add(np.array([0.5, 0.5, 1.0]), np.array([True, False, False]))
        >>> sums.error()  # of three tokens two as sure as right, and one all sure and wrong
        0.3333333333333333
    """

    def __init__(self) -> None:
        self.tokens = np.zeros(BINS, np.int64)
        self.hits = np.zeros(BINS, np.int64)
        self.confidence = CompensatedSums(BINS)  # summed probabilities

    def add(self, confidence: npt.NDArray[np.float64], hit: npt.NDArray[np.bool_]) -> None:
        """Add tokens: the probability of the most probable one, and whether that was the true one."""
        number = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
        self.tokens += np.bincount(number, minlength=BINS)
        self.hits += np.bincount(number[hit], minlength=BINS)
        self.confidence.add(np.bincount(number, confidence, BINS))

    def error(self) -> float:
        """The expected calibration error: sum over bins of |hits - summed probabilities| / tokens of all bins."""
        return float(np.abs(self.hits - self.confidence.values).sum() / self.tokens.sum())

    def merge(self, other: "CalibrationSums") -> None:
        """Add another part's."""
        self.tokens += other.tokens
        self.hits += other.hits
        self.confidence.merge(other.confidence)

    def state(self) -> dict[str, Any]:
        """Everything, as plain numbers."""
        return {
            "tokens": self.tokens.tolist(),
            "hits": self.hits.tolist(),
            "confidence": self.confidence.state(),
        }

    @staticmethod
    def from_state(state: Mapping[str, Any]) -> "CalibrationSums":
        """The sums that `state` was taken of."""
        sums = CalibrationSums()
        sums.tokens, sums.hits = (np.array(state[name], np.int64) for name in ("tokens", "hits"))
        sums.confidence = CompensatedSums.from_state(state["confidence"])
        return sums
