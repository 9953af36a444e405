"""DocumentSums: one document's scores in a few numbers: the unit of intervals and of comparisons, a line of a file."""

from dataclasses import asdict, dataclass
from typing import Any

from lmhead.evaluation.scores.document_scores import DocumentScores


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentSums:
    """What a model makes of one document."""

    name: str  # where it stands
    source: str
    digest: str | None  # of the raw text that is scored, hex; None where tokens do not say: equal texts are comparable
    tokens: int  # scored
    nll: float  # nats, summed
    bytes: int | None  # UTF-8 of the text that is scored
    hits: int  # scored tokens that were the most probable one

    @staticmethod
    def of(scores: DocumentScores) -> "DocumentSums":
        """The sums of a document's scores."""
        document = scores.document
        scored = document.scored
        return DocumentSums(
            name=document.name,
            source=document.source,
            digest=document.digest,
            tokens=int(scored.sum()),
            nll=float(scores.nll[scored].sum()),
            bytes=document.bytes,
            hits=int(scores.hit[scored].sum()),
        )

    def line(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)
