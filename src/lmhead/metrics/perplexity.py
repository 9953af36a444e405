"""Perplexity: exp of the mean nll over all scored tokens."""

import math
from collections.abc import Mapping
from typing import Self

from lmhead.errors import require_kind
from lmhead.losses.token_mean import TokenMean, numbers
from lmhead.metrics.made_with import MadeWith
from lmhead.metrics.token_metric import TokenMetric
from lmhead.ops.problem import TokenStatistics


class PerplexityMetric(TokenMetric):
    """exp(summed nll / scored tokens): of the global mean, not a mean of batches' perplexities.

    The nll is the unsmoothed one, whatever was trained on. Every scored token counts once, whatever it weighs in the
    loss. Comparable only between models that share a tokenizer; `BitsPerByteMetric` is comparable between all.

    Args:
        ignore_index: the id that is not scored, of ids that are given with logits.
        ids: what ids given by position are, "labels" or "targets"; None refuses them.

    Example:
        >>> import torch
        >>> metric = PerplexityMetric()
        >>> metric.update(torch.zeros(2, 5, 4), labels=torch.ones(2, 5, dtype=torch.long))
        >>> round(metric.compute(), 6), metric.tokens
        (4.0, 8)
    """

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

    def merge(self, other: Self) -> None:
        """Add what another rank or another part has measured.

        Raises:
            ArgumentError: `other` was made with another `ignore_index`.
            ArgumentTypeError: it is no such metric.
        """
        require_kind("other", other, PerplexityMetric)
        self._made_with().require_same_counting(other._made_with())
        self._nll.merge(other._nll)

    def reset(self) -> None:
        """Forget everything."""
        self._nll = TokenMean()

    def state(self) -> dict[str, float]:
        """Everything that is kept, as plain numbers; adding two states key by key is merging."""
        return {"nll": self._nll.total, "tokens": self._nll.weight, **self._made_with().state()}

    @classmethod
    def from_state(cls, state: Mapping[str, float]) -> Self:
        """The metric that `state` was taken of, `ignore_index` and `ids` included.

        Raises:
            ArgumentError: the state is not such a metric's, or a sum over metrics with different options.
        """
        nll, tokens = numbers(state, "nll", "tokens")
        made_with = MadeWith.of(state)
        metric = cls(made_with.ignore_index, ids=made_with.ids)
        metric._nll = TokenMean(nll, tokens)
        return metric

    def _add(self, statistics: TokenStatistics) -> None:
        self._nll.add(statistics.nll, statistics.scored)

    def _value(self) -> float:
        return self.compute() if self.tokens else math.nan
