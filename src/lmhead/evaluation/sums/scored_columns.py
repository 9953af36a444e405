"""ScoredColumns: the tokens of several documents end to end, in columns: what every sum is made of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmhead.errors import NonFiniteError
from lmhead.evaluation.scores.document_scores import DocumentScores
from lmhead.options import option


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredColumns:
    """Documents as columns: [D] of documents, [T] of all their tokens, [N] of the scored ones."""

    documents: Sequence[DocumentScores]
    lengths: npt.NDArray[np.int64]  # [D] tokens
    scored: npt.NDArray[np.bool_]  # [T]
    document: npt.NDArray[np.int64]  # [N]: of which document a scored token is
    at: npt.NDArray[np.int64]  # [N]: where it stands in its document
    nll: npt.NDArray[np.float64]  # [N]
    entropy: npt.NDArray[np.float64]  # [N]
    confidence: npt.NDArray[np.float64]  # [N]: probability of the most probable token
    rank: npt.NDArray[np.int64]  # [N]
    hit: npt.NDArray[np.bool_]  # [N]

    @staticmethod
    def of(documents: Sequence[DocumentScores]) -> "ScoredColumns":
        """The columns of documents, of finite scores (require_finite_scores)."""
        lengths = np.array([len(each.document) for each in documents], np.int64)
        scored = np.concatenate([each.document.scored for each in documents])
        place = np.flatnonzero(scored)
        begins = np.cumsum(lengths) - lengths
        document = np.searchsorted(begins + lengths, place, side="right")
        columns = {
            name: np.concatenate([getattr(each, name) for each in documents])[place]
            for name in ("nll", "entropy", "confidence", "rank", "hit")
        }
        return ScoredColumns(
            documents=documents,
            lengths=lengths,
            scored=scored,
            document=document,
            at=place - begins[document],
            nll=columns["nll"],
            entropy=columns["entropy"].astype(np.float64),
            confidence=np.minimum(np.exp(columns["confidence"].astype(np.float64)), 1.0),
            rank=columns["rank"].astype(np.int64),
            hit=columns["hit"],
        )

    def sums(self, values: npt.NDArray[np.generic] | None = None) -> npt.NDArray[np.float64]:
        """[D]: of each document the sum of a column; None: its scored tokens."""
        return np.bincount(self.document, values, len(self.lengths)).astype(np.float64)


def require_finite_scores(scores: DocumentScores) -> None:
    """Refuse a document with a scored token whose scores are no numbers.

    Raises:
        NonFiniteError: it has one.
    """
    scored = scores.document.scored
    for name in ("nll", "entropy", "confidence"):
        column = getattr(scores, name)
        wrong = np.flatnonzero(scored & ~np.isfinite(column))
        if len(wrong):
            raise NonFiniteError(
                f"{name} must be finite, got {column[wrong[0]]} at token {wrong[0]:,} of {scores.document.name}: the "
                f"model's output is no number there; try {option('precision', 'float32')}"
            )
