"""Material: the rows that are to be shown, with what is found in them, before any model has looked at them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from lmhead.errors import IGNORE_INDEX
from lmhead.given.given_tokenizer import GivenTokenizer
from lmhead.inspection.finding import Finding, worst_first
from lmhead.labels.targets import Reason, Targets
from lmhead.record.token_row import TokenRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Rows, and findings whose `rows` and `spots` are those of these rows."""

    rows: tuple[TokenRow, ...]
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()  # what has to be said on top
    crossing: bool = False  # attention crosses the documents of a row
    has_ids: bool = True  # False: the inputs are only known where they are targets
    data: tuple[str, ...] = field(default=())  # paths
    tokenizer: GivenTokenizer | None = None  # of these rows, where their template added tokens to the given one

    @staticmethod
    def joined(parts: Sequence["Material"]) -> "Material":
        """Several as one; the same finding about two parts is one."""
        rows: list[TokenRow] = []
        found: dict[tuple[str, str], Finding] = {}
        for part in parts:
            for finding in part.findings:
                moved = moved_by(finding, len(rows))
                key = finding.code, finding.severity
                found[key] = found[key].joined(moved) if key in found else moved
            rows += part.rows
        return Material(
            rows=tuple(rows),
            findings=worst_first(found.values()),
            notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
            crossing=any(part.crossing for part in parts),
            has_ids=all(part.has_ids for part in parts),
            data=tuple(dict.fromkeys(path for part in parts for path in part.data)),
        )


def moved_by(finding: Finding, rows: int) -> Finding:
    """A finding whose rows stand behind so many others."""
    return replace(
        finding,
        rows=tuple(row + rows for row in finding.rows),
        spots=tuple((row + rows, token) for row, token in finding.spots),
    )


def within(findings: Iterable[Finding], rows: Sequence[TokenRow]) -> tuple[Finding, ...]:
    """Findings whose spots are tokens of the rows: what stands behind a row's last token is told at that token."""
    kept = []
    for finding in findings:
        spots = [(row, min(token, len(rows[row].ids) - 1)) for row, token in finding.spots if len(rows[row].ids)]
        kept.append(replace(finding, spots=tuple(dict.fromkeys(spots))))
    return tuple(kept)


def row_of(
    ids: npt.NDArray[np.integer],  # [T]
    targets: Targets,  # [T]
    document: npt.NDArray[np.int64] | None = None,  # [T], of any numbers; negative is padding
    position: npt.NDArray[np.int64] | None = None,  # [T]
) -> TokenRow:
    """A row of a record; documents are numbered from 0 in their order. A target that is no id is none."""
    scored = targets.scored & (targets.ids >= 0)
    wrong = targets.scored & ~scored
    return TokenRow(
        ids=ids.astype(np.int64),
        targets=targets.ids.masked_fill(~scored, IGNORE_INDEX).cpu().numpy(),
        reason=targets.reason.masked_fill(wrong, int(Reason.IGNORED)).cpu().numpy(),
        weight=None if targets.weight is None else targets.weight.detach().float().cpu().numpy(),
        document=None if document is None else numbered(document),
        position=position,
    )


def numbered(document: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:  # [T]
    """The same documents, 0, 1, 2 in their order; padding is -1.

    Example:
        >>> numbered(np.array([7, 7, 3, 3, -1])).tolist()
        [0, 0, 1, 1, -1]
    """
    numbers = {value: place for place, value in enumerate(dict.fromkeys(document[document >= 0].tolist()))}
    return np.array([numbers.get(value, -1) for value in document.tolist()], np.int64)
