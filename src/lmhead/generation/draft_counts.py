"""DraftCounts: what speculative decoding drafted, what of it was taken, and in how many passes of the model."""

from dataclasses import dataclass, field
from typing import final


@final
@dataclass(slots=True, kw_only=True)
class DraftCounts:
    """Counts over all rows of a batch.

    Example:
        >>> counts = DraftCounts(forwards=50, tokens=90, drafted=[40, 40], accepted=[30, 12])
        >>> counts.acceptance, counts.accepted_length, counts.tokens_per_forward
        ([0.75, 0.4], 2.05, 1.8)
    """

    forwards: int = 0  # reads of a row by the model: of a prompt, of the drafts behind a token
    tokens: int = 0  # made
    drafted: list[int] = field(default_factory=list)  # at each depth
    accepted: list[int] = field(default_factory=list)  # at each depth, with all before it

    @property
    def tokens_per_forward(self) -> float:
        """Tokens that a read gave in the mean; plain decoding has 1."""
        return self.tokens / self.forwards if self.forwards else 0.0

    @property
    def acceptance(self) -> list[float]:
        """The share of the drafts of each depth that were taken where all before them were; 0 where there were none."""
        tried = [self.drafted[0], *self.accepted[:-1]] if self.drafted else []
        return [taken / of if of else 0.0 for taken, of in zip(self.accepted, tried, strict=True)]

    @property
    def accepted_length(self) -> float:
        """Tokens that a read behind drafts gave in the mean: 1 + the share of reads that took each depth's draft."""
        return 1.0 + sum(taken / of for taken, of in zip(self.accepted, self.drafted, strict=True) if of)

    def add(self, drafted: int, accepted: int) -> None:
        """Count one read behind so many drafts, of which the first `accepted` were taken."""
        for k in range(drafted):
            self.drafted[k] += 1
            self.accepted[k] += k < accepted
