"""SourceSums: tokens, nll, bytes, hits, documents of each source; together they are the total."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lmhead.evaluation.sums.compensated_sums import CompensatedSums
from lmhead.evaluation.sums.scored_columns import ScoredColumns

_COUNTS: Final = ("documents", "tokens", "hits", "bytes", "unmeasured")  # the last: documents of unknown bytes


class SourceSums:
    """By source, in the order in which they were met."""

    def __init__(self) -> None:
        self._place: dict[str, int] = {}
        self._nll = CompensatedSums(0)
        self._counts: npt.NDArray[np.int64] = np.zeros((0, len(_COUNTS)), np.int64)

    def add(self, columns: ScoredColumns) -> None:
        """Documents, scored or not."""
        place = np.array([self._place_of(each.document.source) for each in columns.documents], np.int64)
        many = [each.document.bytes for each in columns.documents]
        self._add(
            place,
            columns.sums(columns.nll),
            {
                "documents": np.ones(len(many)),
                "tokens": columns.sums(),
                "hits": columns.sums(columns.hit),
                "bytes": np.array([each or 0 for each in many]),
                "unmeasured": np.array([each is None for each in many]),
            },
        )

    def __iter__(self) -> Iterator[tuple[str, float, dict[str, int]]]:
        """(name, nll in nats, the counts) of each."""
        nll = self._nll.values.tolist()
        for name, place in self._place.items():
            yield name, nll[place], dict(zip(_COUNTS, self._counts[place].tolist(), strict=True))

    def merge(self, other: "SourceSums") -> None:
        """Add another part's."""
        place = np.array([self._place_of(name) for name in other._place], np.int64)
        moved = CompensatedSums.from_state(other._nll.state())
        high, low = (np.zeros(len(self._place)) for _ in range(2))
        for column, given in zip((high, low), moved.state(), strict=True):
            column[place] = given
        self._nll.merge(CompensatedSums.from_state([high.tolist(), low.tolist()]))
        self._grow()
        np.add.at(self._counts, place, other._counts)

    def state(self) -> dict[str, Any]:
        """Everything, as plain numbers and names."""
        return {"names": list(self._place), "nll": self._nll.state(), "counts": self._counts.tolist()}

    @staticmethod
    def from_state(state: Mapping[str, Any]) -> "SourceSums":
        """The sums that `state` was taken of."""
        sums = SourceSums()
        sums._place = {name: place for place, name in enumerate(state["names"])}
        sums._nll = CompensatedSums.from_state(state["nll"])
        sums._counts = np.array(state["counts"], np.int64).reshape(-1, len(_COUNTS))
        return sums

    def _place_of(self, name: str) -> int:
        return self._place.setdefault(name, len(self._place))

    def _add(
        self, place: npt.NDArray[np.int64], nll: npt.NDArray[np.float64], counts: Mapping[str, npt.NDArray[Any]]
    ) -> None:
        size = len(self._place)
        self._nll.add(np.bincount(place, nll, size))
        self._grow()
        made = [np.bincount(place, counts[name], size) for name in _COUNTS]
        self._counts += np.stack(made, axis=1).astype(np.int64)

    def _grow(self) -> None:
        missing = len(self._place) - len(self._counts)
        self._counts = np.pad(self._counts, ((0, missing), (0, 0)))
