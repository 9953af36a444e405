"""Perplexity: exp of the mean nll over all scored tokens."""

import math
from collections.abc import Mapping
from typing import Self

from torch import Tensor

from lmhead.errors import IGNORE_INDEX, require_kind
from lmhead.labels.choice import Word
from lmhead.labels.targets import Targets
from lmhead.losses.normalize import TokenMean, numbers
from lmhead.metrics.made_with import MadeWith
from lmhead.metrics.source import statistics_from
from lmhead.ops.problem import TokenStatistics


class PerplexityMetric:
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

    def __init__(self, ignore_index: int = IGNORE_INDEX, *, ids: Word | None = None) -> None:
        self.ignore_index = ignore_index
        self.ids = ids
        self._made_with()  # checks them
        self._nll = TokenMean()

    def __call__(
        self,
        source: TokenStatistics | Tensor,  # or logits [..., V]
        *by_position: object,
        labels: Tensor | None = None,  # [...]
        targets: Tensor | Targets | None = None,  # [...]
        document: Tensor | None = None,  # [...]
    ) -> float:
        """Add as `update` does; the perplexity of this batch alone comes back, NaN where nothing of it was scored."""
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

    def _made_with(self) -> MadeWith:
        return MadeWith(ignore_index=self.ignore_index, ids=self.ids)
