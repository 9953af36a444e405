"""Finding: one thing that is wrong, or odd, with some rows of data, and what to do about it."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from lmhead.data.labelling.tally import SHOWN, Tally
from lmhead.options import Message
from lmhead.shown import shown_line

Severity = Literal["error", "warning", "info"]
_MOST_SPOTS: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found, how often and where first; printable.

    An error trains on something else than was meant. A warning may: look at the rows. An info is nothing to mend.
    """

    code: str  # stable, for programs: boundary_scored
    severity: Severity
    count: int  # in the unit that the message names
    rows: tuple[int, ...] = ()  # the first that are concerned, where rows have numbers alone
    places: tuple[str, ...] = ()  # the first that are concerned, where rows come from files: "chat.jsonl, line 3"
    message: str
    remedy: str = ""
    pattern: str = field(default="", repr=False, compare=False)  # the message before the count stood in it
    spots: tuple[tuple[int, int], ...] = field(default=(), repr=False, compare=False)  # (row, token) of the first ones

    def __post_init__(self) -> None:
        for name in ("message", "remedy", "pattern"):  # options in them may be marked
            object.__setattr__(self, name, Message(getattr(self, name)))

    @staticmethod
    def at(
        code: str,
        severity: Severity,
        where: npt.NDArray[np.bool_],  # [R, T] or [R]
        message: str,
        remedy: str = "",
    ) -> "Finding | None":
        """The finding that holds at the true places of `where`; None where there is none. `{count}` is their number."""
        count = int(where.sum())
        if not count:
            return None
        rows = np.flatnonzero(where.reshape(len(where), -1).any(axis=1))[:SHOWN]
        spots = np.argwhere(where)[:_MOST_SPOTS].tolist() if where.ndim == 2 else []
        return Finding(
            code=code,
            severity=severity,
            count=count,
            rows=tuple(rows.tolist()),
            message=message.format(count=count),
            remedy=remedy,
            pattern=message,
            spots=tuple((row, token) for row, token in spots),
        )

    @staticmethod
    def counted(code: str, severity: Severity, found: Tally, message: str, remedy: str = "") -> "Finding | None":
        """The finding about what was counted under `code`, None where nothing was.

        `{rows}` in the texts is the count with its noun, `{first}` what was met first.
        """
        count = found.counts[code]
        if not count:
            return None
        return Finding(
            code=code,
            severity=severity,
            count=count,
            places=found.places(code),
            message=message.format(rows=counted_rows(count), first=found.first[code]),
            remedy=remedy.format(rows=counted_rows(count), first=found.first[code]),
        )

    def joined(self, other: "Finding") -> "Finding":
        """The same finding about two batches: counts add up, the first rows stay. The other has the same code."""
        count = self.count + other.count
        return replace(
            self,
            count=count,
            rows=(self.rows + other.rows)[:SHOWN],
            places=(self.places + other.places)[:SHOWN],
            spots=(self.spots + other.spots)[:_MOST_SPOTS],
            message=Message(self.pattern).marked.format(count=count) if self.pattern else self.message,
        )

    def head(self) -> Message:
        """What is wrong, and where first: all but the remedy."""
        told = self.places or self.rows
        where = _together(self.places) if self.places else f"rows {', '.join(map(str, self.rows))}"
        more = ", ..." if len(told) == SHOWN else ""
        message = Message(self.message).marked
        return Message(f"{self.severity}: {message}{f' ({where}{more})' if told else ''} [{self.code}]")

    def to_dict(self) -> dict[str, Any]:
        """Every field that a person reads, for JSON."""
        fields = asdict(replace(self, spots=())) | {"rows": list(self.rows), "places": list(self.places)}
        del fields["pattern"], fields["spots"]
        return fields

    def __str__(self) -> str:
        return shown_line(self.head()) + (f"\n    -> {shown_line(self.remedy)}" if self.remedy else "")


def counted_rows(count: int) -> str:
    """1 row; 1,204 rows."""
    return f"{count:,} row{'' if count == 1 else 's'}"


def worst_first(findings: Iterable[Finding | None]) -> tuple[Finding, ...]:
    """Errors, then warnings, then infos; within each in the order given. None is no finding, and left out."""
    order: tuple[Severity, ...] = ("error", "warning", "info")
    found = (finding for finding in findings if finding is not None)
    return tuple(sorted(found, key=lambda finding: order.index(finding.severity)))


def _together(places: Sequence[str]) -> str:
    """Places that differ in their number alone are told at once: chat.jsonl, lines 3, 8."""
    split = [place.rpartition(" ") for place in places]
    told = []
    for source, group in groupby(split, key=lambda parts: parts[0]):
        numbers = [number for _, _, number in group]
        told.append(f"{source}{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}")
    return "; ".join(told)
