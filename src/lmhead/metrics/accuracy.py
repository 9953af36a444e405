"""Accuracy: the share of scored tokens that were the most probable one."""

from lmhead.errors import ArgumentError
from lmhead.metrics.token_metric import TokenMetric
from lmhead.ops.problem import TokenStatistics
from lmhead.ops.tensor_values import on_the_host


class TokenAccuracyMetric(TokenMetric):
    """hits / scored tokens, both counted as integers; of equal logits the first one is what the model says.

    Args:
        ignore_index: the id that is not scored, of ids that are given with logits.
        ids: what ids given by position are, "labels" or "targets"; None refuses them.

    Example:
        >>> import torch
        >>> metric = TokenAccuracyMetric()
        >>> metric.update(torch.eye(4), targets=torch.tensor([0, 1, 0, -100]))
        >>> metric.hits, metric.tokens
        (2, 3)
    """

    _SUMS = ("hits", "tokens")

    def compute(self) -> float:
        """The accuracy, in [0, 1].

        Raises:
            ArgumentError: no token was scored, which is not an accuracy of 0; `tokens` tells beforehand.
        """
        if self.tokens == 0:
            raise ArgumentError("no token scored, so there is no accuracy: look at Targets.tally() for the reasons")
        return self.hits / self.tokens

    def _add(self, statistics: TokenStatistics) -> None:
        hits, tokens = (int(on_the_host(column.sum())) for column in (statistics.hit, statistics.scored))
        self.hits += hits
        self.tokens += tokens

    def _sums(self) -> tuple[int, int]:
        return self.hits, self.tokens

    def _set_sums(self, total: float, tokens: float) -> None:
        self.hits, self.tokens = int(total), int(tokens)
