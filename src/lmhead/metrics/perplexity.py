"""Perplexity: exp of the mean nll over all scored tokens."""

import math
from typing import Self

from torch import Tensor

from lmhead.errors import IGNORE_INDEX
from lmhead.labels.targets import Targets
from lmhead.losses.normalize import TokenMean
from lmhead.metrics.source import statistics_from
from lmhead.ops.problem import TokenStatistics


class PerplexityMetric:
    """exp(summed nll / scored tokens): of the global mean, not a mean of batches' perplexities.

    The nll is the unsmoothed one, whatever was trained on. Every scored token counts once, whatever it weighs in the
    loss. Comparable only between models that share a tokenizer; `BitsPerByteMetric` is comparable between all.

    Example:
        >>> import torch
        >>> metric = PerplexityMetric()
        >>> metric.update(torch.zeros(2, 5, 4), labels=torch.ones(2, 5, dtype=torch.long))
        >>> round(metric.compute(), 6), metric.tokens
        (4.0, 8)
    """

    def __init__(self, ignore_index: int = IGNORE_INDEX) -> None:
        self.ignore_index = ignore_index
        self._nll = TokenMean()

    def update(
        self,
        source: TokenStatistics | Tensor,  # or logits [..., V]
        *misplaced: object,
        labels: Tensor | None = None,  # [...]
        targets: Tensor | Targets | None = None,  # [...]
        document: Tensor | None = None,  # [...]
    ) -> None:
        """Add the statistics of a loss (`return_stats=True`), or logits against `labels` or `targets`.

        Raises:
            ArgumentError: ids beside statistics, or not exactly one of the two words beside logits.
            ArgumentTypeError: ids by position.
        """
        statistics = statistics_from(
            source, misplaced, labels=labels, targets=targets, document=document, ignore_index=self.ignore_index
        )
        self._nll.add(statistics.nll, statistics.scored)

    @property
    def tokens(self) -> int:
        """Tokens scored so far."""
        return int(self._nll.weight)

    @property
    def mean_nll(self) -> float:
        """Nats per scored token.

        Raises:
            ArgumentError: no token was scored.
        """
        return self._nll.mean

    def compute(self) -> float:
        """The perplexity, at least 1; inf where it exceeds a float.

        Raises:
            ArgumentError: no token was scored; `tokens` tells beforehand.
        """
        nll = self.mean_nll
        return math.inf if nll > 709 else math.exp(nll)

    def merge(self, other: "PerplexityMetric") -> None:
        """Add what another rank or another part has measured."""
        self._nll.merge(other._nll)

    def reset(self) -> None:
        """Forget everything."""
        self._nll = TokenMean()

    def state(self) -> dict[str, float]:
        """Everything that is kept, as plain numbers; adding two states key by key is merging."""
        return {"nll": self._nll.total, "tokens": self._nll.weight}

    @classmethod
    def from_state(cls, state: dict[str, float]) -> Self:
        """The metric that `state` was taken of."""
        metric = cls()
        metric._nll = TokenMean(state["nll"], state["tokens"])
        return metric
