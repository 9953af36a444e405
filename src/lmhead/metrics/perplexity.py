"""Perplexity: exp of the mean nll over all scored tokens."""

import math

from lmhead.losses.token_mean import TokenMean
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

    _SUMS = ("nll", "tokens")

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

    def _add(self, statistics: TokenStatistics) -> None:
        self._nll.add(statistics.nll, statistics.scored)

    def _sums(self) -> tuple[float, float]:
        return self._nll.total, self._nll.weight

    def _set_sums(self, total: float, tokens: float) -> None:
        self._nll = TokenMean(total, tokens)
