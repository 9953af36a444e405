"""Bits per byte: the nll of a text over the size of the text, comparable between any two tokenizers."""

import math
from collections.abc import Mapping
from typing import Self

from torch import Tensor

from lmhead.errors import ArgumentError, require, require_kind
from lmhead.losses.token_mean import TokenMean, numbers
from lmhead.ops.checks import require_numbers
from lmhead.ops.problem import TokenStatistics


class BitsPerByteMetric:
    """summed nll / (log 2 * bytes), bytes being those of the raw UTF-8 text, whatever its tokens decode to.

    Example:
        >>> text = "na\u00efve"  # 6 bytes
        >>> metric = BitsPerByteMetric()
        >>> metric.update(12 * math.log(2), num_bytes=len(text.encode("utf-8")))
        >>> metric.compute()
        2.0
    """

    def __init__(self) -> None:
        self._nll = TokenMean()  # its weight is bytes

    def __call__(self, nll: TokenStatistics | Tensor | float, *, num_bytes: int) -> float:
        """Add as `update` does; the bits per byte of this text alone come back, NaN where it has none."""
        text = type(self)()
        text.update(nll, num_bytes=num_bytes)
        self.merge(text)
        return text.compute() if text._scored else math.nan

    def update(self, nll: TokenStatistics | Tensor | float, *, num_bytes: int) -> None:
        """Add a text: its nll in nats and its size in bytes of UTF-8.

        Args:
            nll: statistics, values per token of any shape, or their sum.

        Raises:
            ArgumentError: `num_bytes` is negative or not finite.
            ArgumentTypeError: a value is no number.
        """
        require_numbers(num_bytes=num_bytes)
        require(0 <= num_bytes < math.inf, "num_bytes", "be finite and >= 0", num_bytes)
        self._nll.add(nll.nll if isinstance(nll, TokenStatistics) else nll, num_bytes)

    @property
    def num_bytes(self) -> int:
        """Bytes of text so far."""
        return int(self._nll.weight)

    def compute(self) -> float:
        """Bits per byte.

        Raises:
            ArgumentError: there was no byte (`num_bytes` tells beforehand), or not one token of them was scored.
        """
        if not self._scored:
            what = "byte" if self.num_bytes == 0 else "token"
            raise ArgumentError(f"no {what} scored, so there are no bits per byte: was the text empty, or all ignored?")
        return self._nll.mean / math.log(2)

    @property
    def _scored(self) -> bool:
        return self.num_bytes > 0 and self._nll.total != 0  # no model is so sure that a text's nll is 0

    def merge(self, other: "BitsPerByteMetric") -> None:
        """Add what another rank or another part has measured.

        Raises:
            ArgumentTypeError: `other` is no such metric.
        """
        require_kind("other", other, BitsPerByteMetric)
        self._nll.merge(other._nll)

    def reset(self) -> None:
        """Forget everything."""
        self._nll = TokenMean()

    def state(self) -> dict[str, float]:
        """Everything that is kept, as plain numbers; adding two states key by key is merging."""
        return {"nll": self._nll.total, "bytes": self._nll.weight}

    @classmethod
    def from_state(cls, state: Mapping[str, float]) -> Self:
        """The metric that `state` was taken of.

        Raises:
            ArgumentError: the state is not such a metric's.
        """
        metric = cls()
        metric._nll = TokenMean(*numbers(state, "nll", "bytes"))
        return metric
