"""EvaluationTotals: scores of documents in a stream -> every sum that a card is made of; exact, mergeable, resumable.

Counts are integers. Sums are float64, compensated: neither the order of documents nor how they are dealt out shows in
them, to 1e-12.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, Self, final

import numpy as np
import numpy.typing as npt

from lmhead.errors import ArgumentError, InputError
from lmhead.evaluation.position_bands import POSITION_EDGES
from lmhead.evaluation.scores.document_scores import DocumentScores
from lmhead.evaluation.scores.windows import Windows
from lmhead.evaluation.sums.answer_sums import AnswerSums
from lmhead.evaluation.sums.calibration_sums import CalibrationSums
from lmhead.evaluation.sums.compensated_sums import CompensatedSums
from lmhead.evaluation.sums.counted import Counted
from lmhead.evaluation.sums.numbered_sums import NumberedSums
from lmhead.evaluation.sums.scored_columns import ScoredColumns, require_finite_scores
from lmhead.evaluation.sums.source_sums import SourceSums
from lmhead.labels.targets import Reason
from lmhead.shown import shown_value

VERSION: Final = 1
_TOGETHER: Final = 16_384  # tokens that are summed at once
_COUNTS: Final = ("documents", "empty", "windowed", "all_tokens", "tokens", "hits", "bytes", "unmeasured", "positions")


@final
class EvaluationTotals:
    """Sums of the scores of documents.

        totals = EvaluationTotals(windows)
        for scores in document_scores(model, documents, windows, ...):
            totals.add(scores)
        totals.nll / totals.tokens

    Args:
        windows: by which the documents are read: what is told of positions.
    """

    def __init__(self, windows: Windows) -> None:
        self.windows = windows
        self._waiting: list[DocumentScores] = []
        self._size = 0  # tokens that wait
        self._counts: Counter[str] = Counter(dict.fromkeys(_COUNTS, 0))
        self._longest = 0
        self._skipped: Counter[str] = Counter()
        self._nll = CompensatedSums(1)
        self._sources = SourceSums()
        self._positions = NumberedSums(len(POSITION_EDGES) + 1)
        self._answers = AnswerSums()
        self._calibration = CalibrationSums()
        self._ranks, self._entropies, self._nlls = Counted("ranks"), Counted("nats"), Counted("nats")

    def add(self, scores: DocumentScores) -> None:
        """Add one document.

        Raises:
            NonFiniteError: a scored token's loss is no finite number; the document is not counted.
        """
        require_finite_scores(scores)
        self._waiting.append(scores)
        self._size += len(scores.document)
        if self._size >= _TOGETHER:
            self._settle()

    def merge(self, other: "EvaluationTotals") -> None:
        """Add what another part has summed.

        Raises:
            ArgumentError: it was read by other windows.
        """
        if other.windows != self.windows:
            raise ArgumentError(f"totals must be of the same windows, got {other.windows} for {self.windows}")
        self._settle()
        other._settle()
        self._counts.update(other._counts)
        self._skipped.update(other._skipped)
        self._longest = max(self._longest, other._longest)
        for name in ("_nll", "_sources", "_positions", "_answers", "_calibration", "_ranks", "_entropies", "_nlls"):
            getattr(self, name).merge(getattr(other, name))

    def state(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        self._settle()
        return {
            "evaluation_totals": VERSION,
            "window": self.windows.window,
            "stride": self.windows.stride,
            "counts": dict(self._counts),
            "longest": self._longest,
            "skipped": dict(self._skipped),
            "nll": self._nll.state(),
            "sources": self._sources.state(),
            "positions": self._positions.state(),
            "answers": self._answers.state(),
            "calibration": self._calibration.state(),
            "ranks": self._ranks.state(),
            "entropies": self._entropies.state(),
            "nlls": self._nlls.state(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """The totals that `state` was taken of: goes on as if it had never stopped.

        Raises:
            InputError: it is of another version, or incomplete.
        """
        version = state.get("evaluation_totals")
        if version != VERSION:
            raise InputError(f"totals of an evaluation must be of version {VERSION}, got {shown_value(version)}")
        try:
            totals = cls(Windows(window=state["window"], stride=state["stride"]))
            totals._counts.update(state["counts"])
            totals._longest = state["longest"]
            totals._skipped.update(state["skipped"])
            totals._nll = CompensatedSums.from_state(state["nll"])
            totals._sources = SourceSums.from_state(state["sources"])
            totals._positions = NumberedSums.from_state(state["positions"])
            totals._answers = AnswerSums.from_state(state["answers"])
            totals._calibration = CalibrationSums.from_state(state["calibration"])
            totals._ranks = Counted.from_state("ranks", state["ranks"])
            totals._entropies = Counted.from_state("nats", state["entropies"])
            totals._nlls = Counted.from_state("nats", state["nlls"])
        except KeyError as error:
            raise InputError(f"totals of an evaluation must be whole, got none of {error}") from None
        return totals

    @property
    def tokens(self) -> int:
        """Scored tokens."""
        return self._count("tokens")

    @property
    def all_tokens(self) -> int:
        """Tokens of all documents, scored or not."""
        return self._count("all_tokens")

    @property
    def hits(self) -> int:
        """Scored tokens that were the most probable one."""
        return self._count("hits")

    @property
    def nll(self) -> float:
        """Nats, summed over the scored tokens."""
        self._settle()
        return float(self._nll.values[0])

    @property
    def bytes(self) -> int | None:
        """UTF-8 of the raw text that is scored; None where a document does not say."""
        return None if self.unmeasured else self._count("bytes")

    @property
    def unmeasured(self) -> int:
        """Documents whose bytes nobody knows."""
        return self._count("unmeasured")

    @property
    def documents(self) -> int:
        """Documents."""
        return self._count("documents")

    @property
    def empty(self) -> int:
        """Documents without a scored token."""
        return self._count("empty")

    @property
    def windowed(self) -> int:
        """Documents that are read in more than one window."""
        return self._count("windowed")

    @property
    def positions_read(self) -> int:
        """Positions that the model read, those that windows share counted each time; padding is not."""
        return self._count("positions")

    @property
    def longest(self) -> int:
        """Tokens of the longest document."""
        self._settle()
        return self._longest

    @property
    def skipped(self) -> dict[str, int]:
        """Tokens that are not scored, by reason: the names of Reason in small letters. With `tokens`: all."""
        self._settle()
        return {reason.name.lower(): count for reason in Reason if (count := self._skipped[reason.name.lower()])}

    @property
    def sources(self) -> SourceSums:
        """By source."""
        self._settle()
        return self._sources

    @property
    def positions(self) -> NumberedSums:
        """By position_bands()."""
        self._settle()
        return self._positions

    @property
    def answers(self) -> AnswerSums:
        """Of conversations."""
        self._settle()
        return self._answers

    @property
    def calibration(self) -> CalibrationSums:
        """Of the most probable token."""
        self._settle()
        return self._calibration

    @property
    def ranks(self) -> Counted:
        """Of the true tokens: how many were more probable."""
        self._settle()
        return self._ranks

    @property
    def entropies(self) -> Counted:
        """Nats."""
        self._settle()
        return self._entropies

    @property
    def nlls(self) -> Counted:
        """Nats, of each token."""
        self._settle()
        return self._nlls

    def _count(self, name: str) -> int:
        self._settle()
        return self._counts[name]

    def _settle(self) -> None:
        """Sum what waits."""
        if not self._waiting:
            return
        waiting, self._waiting, self._size = self._waiting, [], 0
        columns = ScoredColumns.of(waiting)
        self._add_counts(columns)
        self._nll.add(columns.nll.sum(keepdims=True))
        self._sources.add(columns)
        band = np.searchsorted(POSITION_EDGES, columns.at - 1, side="right")  # predicted from the token before
        self._positions.add(band, columns.nll, columns.hit)
        self._answers.add(columns)
        self._calibration.add(columns.confidence, columns.hit)
        self._ranks.add(columns.rank)
        self._entropies.add(columns.entropy)
        self._nlls.add(columns.nll)

    def _add_counts(self, columns: ScoredColumns) -> None:
        documents = [each.document for each in columns.documents]
        many = [each.bytes for each in documents]
        reason = np.concatenate([_reasons(each) for each in columns.documents])
        counted = np.bincount(reason[~columns.scored], minlength=1)
        self._skipped.update(
            {Reason(value).name.lower(): int(counted[value]) for value in np.flatnonzero(counted).tolist()}
        )
        self._longest = max(self._longest, int(columns.lengths.max()))
        self._counts.update(
            documents=len(documents),
            empty=int((columns.sums() == 0).sum()),
            windowed=int((columns.lengths - 1 > self.windows.window).sum()),
            all_tokens=int(columns.lengths.sum()),
            tokens=len(columns.nll),
            hits=int(columns.hit.sum()),
            bytes=sum(each or 0 for each in many),
            unmeasured=many.count(None),
            positions=sum(map(self._positions_of, columns.documents)),
        )

    def _positions_of(self, scores: DocumentScores) -> int:
        """As window_batches reads them: windows without a scored token are left out."""
        scored = scores.document.scored
        if len(scored) - 1 <= self.windows.window:
            return (len(scored) - 1) * bool(scored.any())
        made = self.windows.over(len(scored) - 1)
        return sum(len(window) for window in made if scored[window.keep + 1 : window.stop + 1].any())


def _reasons(scores: DocumentScores) -> npt.NDArray[np.uint8]:
    """[T]: why each token is not scored; that of scored ones is not looked at."""
    document = scores.document
    reason = document.example.reason.copy()
    unlearnt = (reason == int(Reason.SCORED)) & ~document.scored
    reason[unlearnt] = int(Reason.ZERO_WEIGHT)
    if len(reason) and unlearnt[0] and document.example.learnt[0]:
        reason[0] = int(Reason.DOCUMENT_BOUNDARY)  # nothing stands before it
    return reason
