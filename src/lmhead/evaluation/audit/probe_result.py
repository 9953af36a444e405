"""ProbeResult: what one change of the reading did to the figure."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from lmhead.evaluation.audit.audited_rows import AuditedRow
from lmhead.evaluation.audit.readings import Nll

Verdict = Literal["exact", "rounding", "CHANGED", "depends", "not run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with a model, or with how its loss is taken, and what to do about it."""

    code: str  # stable, for programs
    message: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How far one reading of some tokens is from another: the second less the first."""

    tokens: int
    nll: float  # nats a token
    bits_per_byte: float | None  # None where bytes are not known
    largest: float  # nats, of one token: its size
    where: str  # the largest stands, in words; "" where that is not told

    @staticmethod
    def between(rows: list[AuditedRow], before: Nll, after: Nll) -> "Change":
        """Over the tokens that both readings have."""
        tokens, moved, largest, where, size = 0, 0.0, 0.0, "", 0
        known = True
        for row, first, second in zip(rows, before, after, strict=True):
            both = min(len(first), len(second))
            difference = second[:both] - first[:both]
            there = ~(np.isnan(second[:both]) | ~row.scored[:both])
            if not there.any():
                continue
            tokens += int(there.sum())
            moved += float(difference[there].sum())
            worst = int(np.argmax(np.where(there, np.abs(difference), -1.0)))
            if abs(difference[worst]) > largest:
                largest, where = float(abs(difference[worst])), f"{row.name}, token {row.start + worst + 1}"
            if row.ends is None:
                known = False
            else:
                bytes_of = np.diff(row.ends[:both], prepend=0)
                size += int(bytes_of[there].sum())
        bits = moved / np.log(2) / size if known and size else None
        return Change(
            tokens=tokens,
            nll=moved / tokens if tokens else 0.0,
            bits_per_byte=None if bits is None else float(bits),
            largest=largest,
            where=where,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """One line of an audit."""

    name: str
    verdict: Verdict
    change: Change | None = None
    tolerance: float | None = None  # nats, of one token
    note: str = ""  # what it shows, or why it was not run
    fault: Fault | None = None  # where the figure depends on what it must not

    @staticmethod
    def must_not_change(name: str, change: Change, tolerance: float, fault: Fault, note: str = "") -> "ProbeResult":
        """Of a change of the reading that may change the figure by rounding alone."""
        verdict = _size(change, tolerance) or "CHANGED"
        return ProbeResult(
            name=name,
            verdict=verdict,
            change=change,
            tolerance=tolerance,
            note=note,
            fault=fault if verdict == "CHANGED" else None,
        )

    @staticmethod
    def may_change(name: str, change: Change, tolerance: float, note: str = "") -> "ProbeResult":
        """Of a choice that a figure may depend on: by how much."""
        verdict = _size(change, tolerance) or "depends"
        return ProbeResult(name=name, verdict=verdict, change=change, tolerance=tolerance, note=note)

    @staticmethod
    def not_run(name: str, why: str) -> "ProbeResult":
        """Of what could not be tried, and why."""
        return ProbeResult(name=name, verdict="not run", note=why)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def _size(change: Change, tolerance: float) -> Literal["exact", "rounding"] | None:
    if not change.largest:
        return "exact"
    return "rounding" if change.largest <= tolerance else None
