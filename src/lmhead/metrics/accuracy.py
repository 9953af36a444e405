"""Accuracy: the share of scored tokens that were the most probable one."""

import math
from collections.abc import Mapping
from typing import Self

from lmhead.errors import ArgumentError, require_kind
from lmhead.losses.token_mean import numbers
from lmhead.metrics.made_with import MadeWith
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

    def compute(self) -> float:
        """The accuracy, in [0, 1].

        Raises:
            ArgumentError: no token was scored, which is not an accuracy of 0; `tokens` tells beforehand.
        """
        if self.tokens == 0:
            raise ArgumentError("no token scored, so there is no accuracy: look at Targets.tally() for the reasons")
        return self.hits / self.tokens

    def merge(self, other: Self) -> None:
        """Add what another rank or another part has measured.

        Raises:
            ArgumentError: `other` was made with another `ignore_index`.
            ArgumentTypeError: it is no such metric.
        """
        require_kind("other", other, TokenAccuracyMetric)
        self._made_with().require_same_counting(other._made_with())
        self.hits += other.hits
        self.tokens += other.tokens

    def reset(self) -> None:
        """Forget everything."""
        self.hits = self.tokens = 0

    def state(self) -> dict[str, int]:
        """Everything that is kept, as plain numbers; adding two states key by key is merging."""
        return {"hits": self.hits, "tokens": self.tokens, **self._made_with().state()}

    @classmethod
    def from_state(cls, state: Mapping[str, float]) -> Self:
        """The metric that `state` was taken of, `ignore_index` and `ids` included.

        Raises:
            ArgumentError: the state is not such a metric's, or a sum over metrics with different options.
        """
        hits, tokens = numbers(state, "hits", "tokens")
        made_with = MadeWith.of(state)
        metric = cls(made_with.ignore_index, ids=made_with.ids)
        metric.hits, metric.tokens = int(hits), int(tokens)
        return metric

    def _add(self, statistics: TokenStatistics) -> None:
        hits, tokens = (int(on_the_host(column.sum())) for column in (statistics.hit, statistics.scored))
        self.hits += hits
        self.tokens += tokens

    def _value(self) -> float:
        return self.compute() if self.tokens else math.nan
