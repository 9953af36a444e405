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
        """The columns of documents.

        Raises:
            NonFiniteError: a scored token's loss is no finite number.
        """
        lengths = np.array([len(each.document) for each in documents], np.int64)
        scored = np.concatenate([each.document.scored for each in documents])
        place = np.flatnonzero(scored)
        begins = np.cumsum(lengths) - lengths
        document = np.searchsorted(begins + lengths, place, side="right")
        columns = {
            name: np.concatenate([getattr(each, name) for each in documents])[place]
            for name in ("nll", "entropy", "confidence", "rank", "hit")
        }
        made = ScoredColumns(
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
        made._require_finite()
        return made

    def sums(self, values: npt.NDArray[np.generic] | None = None) -> npt.NDArray[np.float64]:
        """[D]: of each document the sum of a column; None: its scored tokens."""
        return np.bincount(self.document, values, len(self.lengths)).astype(np.float64)

    def _require_finite(self) -> None:
        for name in ("nll", "entropy", "confidence"):
            wrong = np.flatnonzero(~np.isfinite(getattr(self, name)))
            if len(wrong):
                first = wrong[0]
                raise NonFiniteError(
                    f"{name} must be finite, got {getattr(self, name)[first]} at token {self.at[first]:,} of "
                    f"{self.documents[self.document[first]].document.name}: the model's output is no number there; "
                    f"try {option('precision', 'float32')}"
                )
