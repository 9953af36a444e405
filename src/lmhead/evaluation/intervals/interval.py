"""Interval: a figure, and what it lies in at a level of confidence, with documents as the unit."""

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

FEW: Final = 20  # documents below which a caution is said

Method = Literal["bootstrap", "student"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A ratio of sums over documents, and its confidence interval.

    low, high and method are None where there is none, and `note` says why; it also says what to be careful about.
    """

    value: float
    low: float | None
    high: float | None
    level: float  # of confidence
    documents: int  # that were drawn from
    effective: float  # documents of one size that would weigh as much: (sum of sizes)^2 / sum of squared sizes
    method: Method | None  # bootstrap: studentised, symmetric; student: Student's t of linearised ratios
    p: float | None = None  # of a difference: how probable one so large is where there is none, both sides
    note: str = ""

    @property
    def excludes_zero(self) -> bool:
        """All of the interval is on one side of 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def __neg__(self) -> "Interval":
        """Of the ratio whose numerators have the other sign."""
        made = asdict(self)
        made["value"] = 0.0 - self.value
        made["low"] = None if self.high is None else 0.0 - self.high
        made["high"] = None if self.low is None else 0.0 - self.low
        return Interval(**made)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
