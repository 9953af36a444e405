"""Accuracy: the share of scored tokens that were the most probable one."""

from typing import Self

from torch import Tensor

from lmhead.errors import IGNORE_INDEX, ArgumentError
from lmhead.labels.targets import Targets
from lmhead.metrics.source import statistics_from
from lmhead.ops.problem import TokenStatistics


class TokenAccuracyMetric:
    """hits / scored tokens, both counted as integers; of equal logits the first one is what the model says.

    Example:
        >>> import torch
        >>> metric = TokenAccuracyMetric()
        >>> metric.update(torch.eye(4), targets=torch.tensor([0, 1, 0, -100]))
        >>> metric.hits, metric.tokens
        (2, 3)
    """

    def __init__(self, ignore_index: int = IGNORE_INDEX) -> None:
        self.ignore_index = ignore_index
        self.hits = 0
        self.tokens = 0

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
        self.hits += int(statistics.hit.sum())
        self.tokens += int(statistics.scored.sum())

    def compute(self) -> float:
        """The accuracy, in [0, 1].

        Raises:
            ArgumentError: no token was scored, which is not an accuracy of 0; `tokens` tells beforehand.
        """
        if self.tokens == 0:
            raise ArgumentError("no token scored, so there is no accuracy: look at Targets.tally() for the reasons")
        return self.hits / self.tokens

    def merge(self, other: "TokenAccuracyMetric") -> None:
        """Add what another rank or another part has measured."""
        self.hits += other.hits
        self.tokens += other.tokens

    def reset(self) -> None:
        """Forget everything."""
        self.hits = self.tokens = 0

    def state(self) -> dict[str, int]:
        """Everything that is kept, as plain numbers; adding two states key by key is merging."""
        return {"hits": self.hits, "tokens": self.tokens}

    @classmethod
    def from_state(cls, state: dict[str, int]) -> Self:
        """The metric that `state` was taken of."""
        metric = cls()
        metric.hits, metric.tokens = int(state["hits"]), int(state["tokens"])
        return metric
