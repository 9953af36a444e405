"""PackingReport, what packing did with documents: how many, how many tokens, what was lost, how full rows are."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PackingReport:
    """Counts of documents, pieces, tokens and rows; printable. Nothing is lost that is not counted here."""

    length: int  # tokens a row
    rows: int
    packed_tokens: int  # of documents, in the rows
    documents: int  # given, as tokens
    tokens: int
    trainable: int = 0  # tokens that can be learnt in documents as they are: trained, and not the first
    scored: int = 0  # of these, those that are learnt in the rows
    empty: int = 0  # documents without a token
    dropped: int = 0  # documents longer than a row
    dropped_tokens: int = 0
    truncated: int = 0  # documents
    truncated_tokens: int = 0  # cut off
    split: int = 0  # documents
    pieces: int = 0  # that the split documents became
    untrained: int = 0  # pieces (whole documents, or parts) with nothing to learn
    untrained_tokens: int = 0  # left out with them; 0 where they are kept

    @staticmethod
    def of(counts: Mapping[str, int], *, length: int, rows: int, packed_tokens: int) -> "PackingReport":
        """The report of what a Fitting counted."""
        return PackingReport(
            **{"documents": 0, "tokens": 0, **counts}, length=length, rows=rows, packed_tokens=packed_tokens
        )

    @property
    def useful(self) -> float:
        """Share of the rows' positions that hold a token of a document; 1 where there are no rows."""
        return self.packed_tokens / (self.rows * self.length) if self.rows else 1.0

    def to_dict(self) -> dict[str, int | float]:
        """Every count and share, for JSON."""
        return {**asdict(self), "useful": self.useful}

    def __str__(self) -> str:
        lines = [
            f"{self.documents} documents of {self.tokens} tokens in {self.rows} rows of {self.length}: "
            f"{self.useful:.2%} useful",
            f"learnt: {self.scored} of {self.trainable} tokens",
        ]
        told = {
            f"dropped: {self.dropped} documents longer than a row, {self.dropped_tokens} tokens": self.dropped,
            f"truncated: {self.truncated} documents, {self.truncated_tokens} tokens cut off": self.truncated,
            f"split: {self.split} documents into {self.pieces}": self.split,
            f"nothing to learn: {self.untrained} documents or parts of one, "
            + (f"left out, {self.untrained_tokens} tokens" if self.untrained_tokens else "kept"): self.untrained,
            f"empty: {self.empty} documents": self.empty,
        }
        return "\n".join([*lines, *(line for line, count in told.items() if count)])
