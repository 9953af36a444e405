"""TokenMetric: what metrics of scored tokens share: options, how ids, logits and statistics reach them, their state."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Self

from torch import Tensor

from lmhead.errors import IGNORE_INDEX, require_kind
from lmhead.labels.labels_or_targets import Word
from lmhead.labels.targets import Targets
from lmhead.losses.token_mean import numbers
from lmhead.metrics.made_with import MadeWith
from lmhead.metrics.source import statistics_from
from lmhead.ops.problem import TokenStatistics


class TokenMetric(ABC):
    """A sum over scored tokens and their number, and a value made of the two."""

    _SUMS: ClassVar[tuple[str, str]]  # names of the two in a state

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
    def compute(self) -> float:
        """What was measured so far.

        Raises:
            ArgumentError: no token was scored.
        """

    def merge(self, other: Self) -> None:
        """Add what another rank or another part has measured.

        Raises:
            ArgumentError: `other` was made with another `ignore_index`.
            ArgumentTypeError: it is no such metric.
        """
        require_kind("other", other, type(self))
        self._made_with().require_same_counting(other._made_with())
        self._set_sums(*(own + more for own, more in zip(self._sums(), other._sums(), strict=True)))

    def reset(self) -> None:
        """Forget everything."""
        self._set_sums(0, 0)

    def state(self) -> dict[str, float]:
        """Everything that is kept, as plain numbers; adding two states key by key is merging."""
        return {**dict(zip(self._SUMS, self._sums(), strict=True)), **self._made_with().state()}

    @classmethod
    def from_state(cls, state: Mapping[str, float]) -> Self:
        """The metric that `state` was taken of, `ignore_index` and `ids` included.

        Raises:
            ArgumentError: the state is not such a metric's, or a sum over metrics with different options.
        """
        sums = numbers(state, *cls._SUMS)
        made_with = MadeWith.of(state)
        metric = cls(made_with.ignore_index, ids=made_with.ids)
        metric._set_sums(*sums)
        return metric

    @abstractmethod
    def _add(self, statistics: TokenStatistics) -> None:
        """Add statistics that were made of whatever came."""

    @abstractmethod
    def _sums(self) -> tuple[float, float]:
        """The two, in the order of their names; the second is how many tokens were scored."""

    @abstractmethod
    def _set_sums(self, total: float, tokens: float) -> None:
        """Keep these in place of what was summed."""

    def _value(self) -> float:
        """What was measured so far; NaN where nothing was scored."""
        return self.compute() if self._sums()[1] else math.nan

    def _made_with(self) -> MadeWith:
        return MadeWith(ignore_index=self.ignore_index, ids=self.ids)
