"""Counted values: quantiles of any number of tokens out of counts: nats in steps of 0.01, ranks exact below 1,024."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

NATS_STEP: Final = 0.01
_MOST_NATS: Final = 100.0
EXACT_RANKS: Final = 1024
_PER_OCTAVE: Final = 16
_OCTAVES: Final = 21  # 1,024 * 2**21 is beyond every vocabulary


def _of_nats() -> npt.NDArray[np.float64]:
    return np.round(np.arange(1, round(_MOST_NATS / NATS_STEP) + 1) * NATS_STEP, 2)


def _of_ranks() -> npt.NDArray[np.float64]:
    beyond = EXACT_RANKS * 2.0 ** (np.arange(1, _PER_OCTAVE * _OCTAVES + 1) / _PER_OCTAVE)
    return np.concatenate([np.arange(EXACT_RANKS, dtype=np.float64), np.floor(beyond)])


_UPPER: Final = {"nats": _of_nats(), "ranks": _of_ranks()}
RESOLUTION: Final = {
    "nats": f"to the next {NATS_STEP} nats above",
    "ranks": f"exact below {EXACT_RANKS:,}, beyond at most {2 ** (1 / _PER_OCTAVE) - 1:.1%} too large",
}


class Counted:
    """Counts of the values in (edge before, edge]; the last count is of what is beyond all edges.

    Args:
        kind: "nats" or "ranks".

    Example:
        >>> ranks = Counted("ranks")
        >>> ranks.add(np.array([0, 0, 3, 5000]))
        >>> ranks.quantile(0.5), ranks.quantile(0.75), ranks.below(1), ranks.largest
        (0.0, 3.0, 2, 5000.0)
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.largest = 0.0
        self._upper = _UPPER[kind]
        self._counts = np.zeros(len(self._upper) + 1, np.int64)

    @property
    def count(self) -> int:
        """Values so far."""
        return int(self._counts.sum())

    def add(self, values: npt.NDArray[np.generic]) -> None:
        """Count values >= 0."""
        if not len(values):
            return
        given = np.maximum(values.astype(np.float64), 0.0)  # an entropy of float32 may be a hair below 0
        self._counts += np.bincount(self._places(given), minlength=len(self._counts))
        self.largest = max(self.largest, float(given.max()))

    def _places(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Of each value the first edge that it does not exceed."""
        if self.kind == "nats":  # all steps are equal
            places = np.ceil(values / NATS_STEP).astype(np.int64) - 1
            return np.clip(places, 0, len(self._upper))
        places = values.astype(np.int64)
        beyond = np.flatnonzero(places >= EXACT_RANKS)
        places[beyond] = np.searchsorted(self._upper, values[beyond])
        return places

    def quantile(self, share: float) -> float | None:
        """The least edge that this share of the values do not exceed; None where it is beyond the last one."""
        needed = max(1, int(np.ceil(share * self.count - 1e-9)))
        place = int(np.searchsorted(self._counts.cumsum(), needed))
        return float(self._upper[place]) if place < len(self._upper) else None

    def quantiles(self, shares: Sequence[float]) -> tuple[float | None, ...]:
        """Of several shares, never more than the largest value."""
        found = map(self.quantile, shares)
        return tuple(None if each is None else min(each, self.largest) for each in found)

    def below(self, rank: int) -> int:
        """How many ranks are less, of ranks up to 1,024."""
        assert self.kind == "ranks"
        assert rank <= EXACT_RANKS
        return int(self._counts[:rank].sum())

    def merge(self, other: "Counted") -> None:
        """Add what another part has counted."""
        self._counts += other._counts
        self.largest = max(self.largest, other.largest)

    def state(self) -> dict[str, object]:
        """Everything: the counts that are not 0, by their place."""
        places = np.flatnonzero(self._counts).tolist()
        return {
            "largest": self.largest,
            "counts": {str(place): int(self._counts[place]) for place in places},
        }

    @staticmethod
    def from_state(kind: str, state: Mapping[str, object]) -> "Counted":
        """What `state` was taken of."""
        made = Counted(kind)
        largest, counts = state["largest"], state["counts"]
        assert isinstance(largest, float | int)
        assert isinstance(counts, dict)
        made.largest = float(largest)
        for place, count in counts.items():
            made._counts[int(place)] = count
        return made
