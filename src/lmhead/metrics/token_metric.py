"""TokenMetric: what metrics of scored tokens share: their options, and how ids, logits and statistics reach them."""

from abc import ABC, abstractmethod
from typing import Self

from torch import Tensor

from lmhead.errors import IGNORE_INDEX
from lmhead.labels.labels_or_targets import Word
from lmhead.labels.targets import Targets
from lmhead.metrics.made_with import MadeWith
from lmhead.metrics.source import statistics_from
from lmhead.ops.problem import TokenStatistics


class TokenMetric(ABC):
    """A sum over scored tokens, and a value made of it."""

    def __init__(self, ignore_index: int = IGNORE_INDEX, *, ids: Word | None = None) -> None:
        self.ignore_index = ignore_index
        self.ids = ids
        self._made_with()  # checks them
        self.reset()

    def __call__(
        self,
        source: TokenStatistics | Tensor,  # or logits [..., V]
        *by_position: object,
        labels: Tensor | None = None,  # [...]
        targets: Tensor | Targets | None = None,  # [...]
        document: Tensor | None = None,  # [...]
    ) -> float:
        """Add as `update` does; the value of this batch alone comes back, NaN where nothing of it was scored."""
        batch = type(self)(self.ignore_index, ids=self.ids)
        batch.update(source, *by_position, labels=labels, targets=targets, document=document)
        self.merge(batch)
        return batch._value()

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
        self._add(statistics)

    @abstractmethod
    def merge(self, other: Self) -> None:
        """Add what another rank or another part has measured."""

    @abstractmethod
    def reset(self) -> None:
        """Forget everything."""

    @abstractmethod
    def _add(self, statistics: TokenStatistics) -> None:
        """Add statistics that were made of whatever came."""

    @abstractmethod
    def _value(self) -> float:
        """What was measured so far; NaN where nothing was scored."""

    def _made_with(self) -> MadeWith:
        return MadeWith(ignore_index=self.ignore_index, ids=self.ids)
