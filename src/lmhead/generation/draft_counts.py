"""DraftCounts: what speculative decoding drafted, what of it was taken, and in how many passes of the model."""

from dataclasses import dataclass, field
from typing import Self, final


@final
@dataclass(slots=True, kw_only=True)
class DraftCounts:
    """Counts over all rows of a batch.

    Example:
        >>> counts = DraftCounts.of_depths(2)
        >>> for drafted, accepted in [(2, 2), (2, 1), (2, 0), (1, 1)]:  # of the last read only one draft
        ...     counts.add(drafted, accepted)
        >>> counts.acceptance, round(counts.accepted_length, 2)
        ([0.75, 0.5], 2.08)
    """

    forwards: int = 0  # reads of a row by the model: of a prompt, of the drafts behind a token
    tokens: int = 0  # made, the stop id that ended a row among them: a read gave it too
    drafted: list[int] = field(default_factory=list)  # at each depth
    reached: list[int] = field(default_factory=list)  # at each depth, of these: all before it were accepted
    accepted: list[int] = field(default_factory=list)  # at each depth, with all before it

    @classmethod
    def of_depths(cls, count: int) -> Self:
        """Nothing yet, of so many depths."""
        return cls(drafted=[0] * count, reached=[0] * count, accepted=[0] * count)

    @property
    def tokens_per_forward(self) -> float:
        """Tokens that a read gave in the mean; plain decoding has 1."""
        return self.tokens / self.forwards if self.forwards else 0.0

    @property
    def acceptance(self) -> list[float]:
        """The share of the drafts of each depth that were taken where all before them were; 0 where there were none."""
        return [taken / of if of else 0.0 for taken, of in zip(self.accepted, self.reached, strict=True)]

    @property
    def accepted_length(self) -> float:
        """Tokens that a read behind drafts gave in the mean: 1 + the share of reads that took each depth's draft."""
        return 1.0 + sum(taken / of for taken, of in zip(self.accepted, self.drafted, strict=True) if of)

    def add(self, drafted: int, accepted: int) -> None:
        """Count one read behind so many drafts, of which the first `accepted` were taken."""
        for k in range(drafted):
            self.drafted[k] += 1
            self.reached[k] += k <= accepted
            self.accepted[k] += k < accepted

    def merge(self, other: "DraftCounts") -> None:
        """Add what was counted of other rows, with as many depths."""
        self.forwards, self.tokens = self.forwards + other.forwards, self.tokens + other.tokens
        for name in ("drafted", "reached", "accepted"):
            pairs = zip(getattr(self, name), getattr(other, name), strict=True)
            setattr(self, name, [mine + theirs for mine, theirs in pairs])
