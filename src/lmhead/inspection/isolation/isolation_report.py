"""IsolationReport: which documents of a row reach which others, and what would keep them apart."""

from dataclasses import asdict, dataclass
from typing import Any

_SHOWN = 5  # leaks


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


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationReport:
    """What check_isolation found; printable. `.ok` is true where no document reaches another."""

    leaks: tuple[Leak, ...]
    pairs: int  # of a document that was changed and another of its row
    tolerance: float  # changes up to this are not called leaks
    largest: float  # change of an output of a document that was not changed

    @property
    def ok(self) -> bool:
        """No document reaches another."""
        return not self.leaks

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {"ok": self.ok, **asdict(self), "leaks": [asdict(leak) for leak in self.leaks]}

    def __str__(self) -> str:
        if self.ok:
            return f"isolated: no document reaches another ({self.pairs} pairs, largest change {self.largest:.3g})"
        lines = [f"LEAKS: {len(self.leaks)} of {self.pairs} pairs of documents in a row"]
        lines += [f"  {leak}" for leak in self.leaks[:_SHOWN]]
        if len(self.leaks) > _SHOWN:
            lines.append(f"  and {len(self.leaks) - _SHOWN} more")
        return "\n".join([*lines, f"remedy: {self._remedy()}"])

    def _remedy(self) -> str:
        if any(leak.into < leak.source for leak in self.leaks if leak.source >= 0):
            return (
                "documents reach those before them, so attention is not even causal: an additive kernel may have got "
                "a bool mask (give batch.attention_mask(dtype=...)), or the model looks both ways"
            )
        return (
            "give attention a mask that knows the documents: batch.attention_mask() for SDPA, batch.block_mask() for "
            "FlexAttention, batch.cu_seqlens for a variable-length kernel; positions that restart are not enough "
            "beside a 2-D mask or, in transformers, a cache (use_cache=False)"
        )
