"""ScoredDocuments: one side of a comparison: a model's sums of each document, and what has to be known of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmhead.errors import ArgumentTypeError, InputError
from lmhead.evaluation.card.conditions import DataConditions
from lmhead.evaluation.card.evaluation_card import EvaluationCard
from lmhead.evaluation.evaluation_result import EvaluationResult
from lmhead.evaluation.folder.evaluation_folder import STATE_FILE
from lmhead.evaluation.intervals.document_intervals import require_finite
from lmhead.evaluation.sums.document_sums import DocumentSums


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredDocuments:
    """What one model makes of documents.

    Raises:
        ArgumentError: an nll is not finite.
    """

    name: str  # of the model
    documents: Sequence[DocumentSums]
    tokenizer: str | None = None  # its content's hash: equal for equal tokens; None: not known
    data: str | None = None  # equal for the same data given; None: not known
    reading: Mapping[str, Any] = field(default_factory=dict)  # window, stride, ...: how texts were read
    trained_on: str | None = None  # which of them the model was trained on, in words
    no_bytes: str | None = None  # why the bytes of documents are not known

    def __post_init__(self) -> None:
        require_finite(self.documents)

    @staticmethod
    def of(given: object, *, name: str | None = None) -> "ScoredDocuments":
        """Of a folder that `lmhead eval --out` wrote, of what `lmhead.evaluate` gives, or of a list of DocumentSums.

        Args:
            name: of a list.

        Raises:
            ArgumentTypeError: it is none of these.
            InputError: the folder is no evaluation, is unfinished, or is damaged.
        """
        if isinstance(given, ScoredDocuments):
            return given
        if isinstance(given, str | Path):
            given = _read(Path(given))
        if isinstance(given, EvaluationResult):
            return ScoredDocuments.of_card(given.card, given.documents)
        if isinstance(given, Sequence) and all(isinstance(each, DocumentSums) for each in given):
            return ScoredDocuments(name=name or "a list", documents=given)
        raise ArgumentTypeError(
            "what is compared must be an evaluation, its folder, or DocumentSums, got "
            f"{type(given).__name__}: lmhead.evaluate gives one"
        )

    @staticmethod
    def of_card(card: EvaluationCard, documents: Sequence[DocumentSums]) -> "ScoredDocuments":
        """Of a card, and of the documents behind it."""
        data, reading = card.data, card.reading
        return ScoredDocuments(
            name=card.model.name,
            documents=documents,
            tokenizer=card.tokenizer.sha256,
            data=json.dumps([data.paths, data.limit, _rows(data)]),  # a fingerprint is of what could be scored
            reading={
                "context": reading.context,
                "window": reading.window,
                "stride": reading.stride,
                "prefix": reading.prefix.policy if reading.prefix.ids else "none",
                "end": reading.end_scored,
            },
            trained_on=data.trained_on,
            no_bytes=card.figures.no_bits,
        )


def _rows(data: DataConditions) -> int:
    """That were read, those that could not be scored among them."""
    return sum(data.forms.values()) + sum(data.refused.values())


def _read(folder: Path) -> EvaluationResult:
    if (folder / STATE_FILE).exists():
        raise InputError(f"{folder} must be a finished evaluation, got one that was interrupted: run its command again")
    return EvaluationResult.read(folder)
