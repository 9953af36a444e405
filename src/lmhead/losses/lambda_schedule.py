"""LambdaSchedule: lambda over a run, and what a lambda may be. No torch.

share of the run     0 ............ after ............ 1
lambda               first                then              DeepSeek-V3: 0.3 of 10T tokens, then 0.1 of 4.8T
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lmhead.errors import ArgumentTypeError, require

Lambda = float | tuple[float, ...]  # of all depths, or of each


@dataclass(frozen=True, slots=True, kw_only=True)
class LambdaSchedule:
    """Lambda `first`, and `then` once a share `after` of the run's tokens is behind.

    Each is a number, or one number a depth, as in `DepthWeighting`.

    Raises:
        ArgumentError: a lambda is negative or not finite, the two have numbers for different depths, or the share is
            not in (0, 1].
        ArgumentTypeError: something is no number.

    Example:
        >>> schedule = LambdaSchedule(first=0.3, then=0.1, after=2 / 3)
        >>> schedule.at(0.5), schedule.at(0.7)
        (0.3, 0.1)

    Source: DeepSeek-V3 technical report (2024), section 4.2.
    """

    first: float | Sequence[float] = 0.3
    then: float | Sequence[float] = 0.1
    after: float = 10 / 14.8

    def __post_init__(self) -> None:
        for name in ("first", "then"):
            object.__setattr__(self, name, checked_lambda(name, getattr(self, name)))
        if isinstance(self.first, tuple) and isinstance(self.then, tuple):
            fits = len(self.then) == len(self.first)
            require(fits, "then", f"have {len(self.first)} numbers, one a depth, as first has", len(self.then))
        _require_number("after", self.after)
        require(0.0 < self.after <= 1.0, "after", "be in (0, 1], a share of the run", self.after)

    def at(self, share: float) -> Lambda:
        """Lambda where a `share` in [0, 1] of the run's tokens is behind.

        Raises:
            ArgumentError: the share is negative or no number.
            ArgumentTypeError: the share is no number.
        """
        _require_number("share", share)
        require(share >= 0.0, "share", "be >= 0, of the run's tokens", share)
        chosen = self.first if share < self.after else self.then
        return tuple(chosen) if isinstance(chosen, Sequence) else chosen


def checked_lambda(name: str, value: float | Sequence[float]) -> Lambda:
    """A lambda of all depths as it is, or those of each depth as a tuple.

    Raises:
        ArgumentError: one is negative or not finite, or there is none.
        ArgumentTypeError: one is no number.
    """
    if not isinstance(value, Sequence):
        return _checked(name, value)
    require(bool(value), name, "be a number, or one number a depth", "none of them")
    return tuple(_checked(f"{name}[{k}]", one) for k, one in enumerate(value))


def _checked(name: str, value: float) -> float:
    _require_number(name, value)
    require(0.0 <= value < math.inf, name, "be finite and >= 0", value)
    return value


def _require_number(name: str, value: object) -> None:
    if not isinstance(value, int | float):
        raise ArgumentTypeError(f"{name} must be a number, got {type(value).__name__}")
