"""IsolationReport: which documents of a row reach which others, and what would keep them apart."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, final

from lmhead.inspection.finding import Finding
from lmhead.inspection.report import Report

_SHOWN: Final = 5  # leaks, and rows
_KEEP_APART: Final = (
    "give attention a mask that knows the documents: batch.attention_mask() for SDPA, batch.block_mask() for "
    "FlexAttention, batch.cu_seqlens for a variable-length kernel; positions that restart are not enough beside a 2-D "
    "mask or, in transformers, a cache (use_cache=False)"
)
_MASK_OF_SCORES: Final = (
    "an additive kernel may have got a bool mask (give batch.attention_mask(dtype=...)), or the model looks both ways"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """Document `source` was changed, and the outputs at document `into` of the same row moved. -1 is padding."""

    row: int
    source: int
    into: int
    difference: float  # largest change of an output, in its own unit

    def __str__(self) -> str:
        source = "padding" if self.source < 0 else f"document {self.source}"
        return f"row {self.row}: {source} reaches document {self.into}, outputs move by {self.difference:.3g}"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationReport(Report):
    """What check_isolation found; printable. `.ok` is true where no document reaches another."""

    leaks: tuple[Leak, ...]
    pairs: int  # of a document that was changed and another of its row
    tolerance: float  # changes up to this are not called leaks
    largest: float  # change of an output of a document that was not changed

    def _figures(self) -> dict[str, Any]:
        figures = {"pairs": self.pairs, "tolerance": self.tolerance, "largest": self.largest}
        return {**figures, "leaks": [asdict(leak) for leak in self.leaks]}

    def _head(self) -> list[str]:
        if self.ok:
            return [f"isolated: no document reaches another ({self.pairs} pairs, largest change {self.largest:.3g})"]
        lines = [f"LEAKS: {len(self.leaks)} of {self.pairs} pairs of documents in a row"]
        lines += [f"  {leak}" for leak in self.leaks[:_SHOWN]]
        if len(self.leaks) > _SHOWN:
            lines.append(f"  and {len(self.leaks) - _SHOWN} more")
        return lines


def leak_finding(leaks: Sequence[Leak]) -> Finding | None:
    """The finding about documents that reach others; None where none does."""
    if not leaks:
        return None
    backwards = sum(0 <= leak.into < leak.source for leak in leaks)
    pairs = "pair" if len(leaks) == 1 else "pairs"
    message = f"the outputs of a document follow another of its row, or padding, in {len(leaks)} {pairs}"
    code, remedy = "documents_leak", _KEEP_APART
    if backwards:
        message += f", and in {backwards} of them one that comes later: attention is not even causal"
        code, remedy = "attention_not_causal", _MASK_OF_SCORES
    rows = tuple(dict.fromkeys(leak.row for leak in leaks))[:_SHOWN]
    return Finding(code=code, severity="error", count=len(leaks), rows=rows, message=message, remedy=remedy)
