"""Options of a metric, kept in its state beside its sums, so that what is restored is the same metric.

States of several ranks are merged by adding them key by key, so an option is kept as numbers that add up: its value,
its square, and 1 for the metric. Of n metrics the options are equal exactly if n times the sum of the squares is the
square of the sum (Cauchy and Schwarz).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from lmhead.errors import ArgumentError, require
from lmhead.labels.labels_or_targets import Word, check_word
from lmhead.losses.token_mean import numbers
from lmhead.ops.checks import check_choices

_WORDS: tuple[Word | None, ...] = (None, "labels", "targets")


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeWith:
    """The options of a metric of tokens."""

    ignore_index: int
    ids: Word | None

    def __post_init__(self) -> None:
        check_choices(self.ignore_index, None)
        check_word(self.ids)

    def state(self) -> dict[str, int]:
        """As numbers that add up over metrics that were made alike."""
        options = {"ignore_index": self.ignore_index, "ids": _WORDS.index(self.ids)}
        return {"metrics": 1, **options, **{f"{name}_squared": value * value for name, value in options.items()}}

    @staticmethod
    def of(state: Mapping[str, float]) -> "MadeWith":
        """What the metric that `state` was taken of was made with, or all those whose states were added.

        Raises:
            ArgumentError: the state has no options, or is that of metrics that were made with different ones.
        """
        return MadeWith(ignore_index=_common(state, "ignore_index"), ids=_WORDS[_common(state, "ids")])

    def require_same_counting(self, other: "MadeWith") -> None:
        """Refuse to add what was counted by another rule.

        Raises:
            ArgumentError: `ignore_index` differs.
        """
        same = self.ignore_index == other.ignore_index
        require(same, "other", f"have the ignore_index {self.ignore_index}", other.ignore_index, "they count other ids")


def _common(state: Mapping[str, float], name: str) -> int:
    metrics, total, squares = (int(value) for value in numbers(state, "metrics", name, f"{name}_squared"))
    if metrics < 1 or metrics * squares != total * total:
        raise ArgumentError(
            f"state must be of metrics with one {name}, got a sum over {metrics} with different ones: "
            "make the metric of each rank alike"
        )
    return total // metrics
