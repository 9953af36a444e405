"""Finding: one thing that is wrong, or odd, with some rows of data, and what to do about it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Severity = Literal["error", "warning", "info"]
_SHOWN = 5  # rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found, how often and where first; printable.

    An error trains on something else than was meant. A warning may: look at the rows. An info is nothing to mend.
    """

    code: str  # stable, for programs: boundary_scored
    severity: Severity
    count: int  # in the unit that the message names
    rows: tuple[int, ...] = ()  # the first that are concerned
    message: str
    remedy: str = ""

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
        rows = np.flatnonzero(where.reshape(len(where), -1).any(axis=1))[:_SHOWN]
        return Finding(
            code=code,
            severity=severity,
            count=count,
            rows=tuple(rows.tolist()),
            message=message.format(count=count),
            remedy=remedy,
        )

    def to_dict(self) -> dict[str, Any]:
        """Every field, for JSON."""
        return {**asdict(self), "rows": list(self.rows)}

    def __str__(self) -> str:
        where = f" (rows {', '.join(map(str, self.rows))}{', ...' if len(self.rows) == _SHOWN else ''})"
        remedy = f"\n    {self.remedy}" if self.remedy else ""
        return f"{self.severity}: {self.message}{where if self.rows else ''} [{self.code}]{remedy}"


def worst_first(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Errors, then warnings, then infos; within each in the order given."""
    order: tuple[Severity, ...] = ("error", "warning", "info")
    return tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))
