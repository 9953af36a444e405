"""Tally: counts what is met in a stream of rows, and where it is met first. Bounded: a few places for each code."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from lmhead.data.rows.row import Place

SHOWN: Final = 5  # places


class Tally:
    """Counts of rows by code, with the first places and what was met in the first."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}  # what was met first: a role, an error's text
        self._places: dict[str, list[Place]] = {}

    def add(self, code: str, place: Place, first: str = "", *, count: int = 1) -> None:
        """Count what was met at a place."""
        self.counts[code] += count
        places = self._places.setdefault(code, [])
        if len(places) < SHOWN:
            places.append(place)
        self.first.setdefault(code, first)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        places = {code: [asdict(place) for place in places] for code, places in self._places.items()}
        return {"counts": self.counts, "first": self.first, "places": places}

    @staticmethod
    def of_dict(saved: Mapping[str, Any]) -> "Tally":
        """From what `to_dict` gave."""
        tally = Tally()
        tally.counts.update(saved["counts"])
        tally.first.update(saved["first"])
        tally._places = {code: [Place(**place) for place in places] for code, places in saved["places"].items()}
        return tally

    def places(self, code: str) -> tuple[str, ...]:
        """The first places where a code was met."""
        return tuple(map(str, self._places.get(code, ())))
