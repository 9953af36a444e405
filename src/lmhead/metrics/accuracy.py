"""Accuracy: the share of scored tokens that were the most probable one."""

import math
from collections.abc import Mapping
from typing import Self

from torch import Tensor

from lmhead.errors import IGNORE_INDEX, ArgumentError, require_kind
from lmhead.labels.choice import Word
from lmhead.labels.targets import Targets
from lmhead.losses.normalize import numbers
from lmhead.metrics.made_with import MadeWith
from lmhead.metrics.source import statistics_from
from lmhead.ops.problem import TokenStatistics
from lmhead.ops.tensor_values import on_the_host


class TokenAccuracyMetric:
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

    def __init__(self, ignore_index: int = IGNORE_INDEX, *, ids: Word | None = None) -> None:
        self.ignore_index = ignore_index
        self.ids = ids
        self._made_with()  # checks them
        self.hits = 0
        self.tokens = 0

    def __call__(
        self,
        source: TokenStatistics | Tensor,  # or logits [..., V]
        *by_position: object,
        labels: Tensor | None = None,  # [...]
        targets: Tensor | Targets | None = None,  # [...]
        document: Tensor | None = None,  # [...]
    ) -> float:
        """Add as `update` does; the accuracy of this batch alone comes back, NaN where nothing of it was scored."""
        batch = type(self)(self.ignore_index, ids=self.ids)
        batch.update(source, *by_position, labels=labels, targets=targets, document=document)
        self.merge(batch)
        return batch.compute() if batch.tokens else math.nan

    def update(
        self,
        source: TokenStatistics | Tensor,  # or logits [..., V]
        *by_position: object,
        labels: Tensor | None = None,  # [...]
        targets: Tensor | Targets | None = None,  # [...]
        document: Tensor | None = None,  # [...]
    ) -> None:
        """Add the statistics of a loss (`return_stats=True`), or logits against `labels` or `targets`.

        Raises:
            ArgumentError: ids beside statistics, or not exactly one of the two words beside logits.
            ArgumentTypeError: ids by position, where the metric was made without `ids`.
        """
        statistics = statistics_from(
            source,
            by_position,
            labels=labels,
            targets=targets,
            document=document,
            ignore_index=self.ignore_index,
            ids=self.ids,
            owner=self,
        )
        hits, tokens = (int(on_the_host(column.sum())) for column in (statistics.hit, statistics.scored))
        self.hits += hits
        self.tokens += tokens

    def compute(self) -> float:
        """The accuracy, in [0, 1].

        Raises:
            ArgumentError: no token was scored, which is not an accuracy of 0; `tokens` tells beforehand.
        """
        if self.tokens == 0:
            raise ArgumentError("no token scored, so there is no accuracy: look at Targets.tally() for the reasons")
        return self.hits / self.tokens

    def merge(self, other: "TokenAccuracyMetric") -> None:
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

    def _made_with(self) -> MadeWith:
        return MadeWith(ignore_index=self.ignore_index, ids=self.ids)
