"""NumberedSums: nll, tokens and hits of numbered classes of tokens: bands of positions, turns of an assistant."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lmhead.evaluation.sums.compensated_sums import CompensatedSums


class NumberedSums:
    """Of a fixed number of classes."""

    def __init__(self, size: int) -> None:
        self.nll = CompensatedSums(size)  # nats
        self.tokens = np.zeros(size, np.int64)
        self.hits = np.zeros(size, np.int64)

    def add(
        self, number: npt.NDArray[np.int64], nll: npt.NDArray[np.float64], hit: npt.NDArray[np.bool_]
    ) -> None:  # [N] each
        """Add tokens, each to the class of its number."""
        size = len(self.tokens)
        self.nll.add(np.bincount(number, nll, size))
        self.tokens += np.bincount(number, minlength=size)
        self.hits += np.bincount(number[hit], minlength=size)

    def merge(self, other: "NumberedSums") -> None:
        """Add another part's."""
        self.nll.merge(other.nll)
        self.tokens += other.tokens
        self.hits += other.hits

    def state(self) -> dict[str, Any]:
        """Everything, as plain numbers."""
        return {"nll": self.nll.state(), "tokens": self.tokens.tolist(), "hits": self.hits.tolist()}

    @staticmethod
    def from_state(state: Mapping[str, Any]) -> "NumberedSums":
        """The sums that `state` was taken of."""
        sums = NumberedSums(len(state["tokens"]))
        sums.nll = CompensatedSums.from_state(state["nll"])
        sums.tokens, sums.hits = (np.array(state[name], np.int64) for name in ("tokens", "hits"))
        return sums
