"""ScoredDocuments: one side of a comparison: a model's sums of each document, and what has to be known of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lmhead.errors import ArgumentTypeError, InputError
from lmhead.evaluation.folder.document_lines import DOCUMENTS_FILE, read_document_lines
from lmhead.evaluation.folder.evaluation_folder import STATE_FILE
from lmhead.evaluation.intervals.document_intervals import require_finite
from lmhead.evaluation.sums.document_sums import DocumentSums

CARD_FILE: Final = "card.json"


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
    no_bytes: str | None = None  # why the bytes of documents are not known

    def __post_init__(self) -> None:
        require_finite(self.documents)

    @staticmethod
    def of(given: object, *, name: str | None = None) -> "ScoredDocuments":
        """Of an EvaluationResult, the folder of one, one side itself, or a list of DocumentSums.

        Raises:
            ArgumentTypeError: it is none of these.
            InputError: the folder is no evaluation, is unfinished, or is damaged.
        """
        if isinstance(given, ScoredDocuments):
            return given
        if hasattr(given, "scored_documents"):  # an EvaluationResult
            made = given.scored_documents()
            assert isinstance(made, ScoredDocuments)
            return made
        if isinstance(given, str | Path):
            return _read(Path(given))
        if isinstance(given, Sequence) and all(isinstance(each, DocumentSums) for each in given):
            return ScoredDocuments(name=name or "a list", documents=given)
        raise ArgumentTypeError(
            f"an evaluation to compare must be what lmhead.evaluate gave, or the folder of it, got "
            f"{type(given).__name__}"
        )

    @staticmethod
    def of_card(card: Mapping[str, Any], documents: Sequence[DocumentSums]) -> "ScoredDocuments":
        """Of a card's JSON and the documents behind it.

        Raises:
            KeyError, TypeError: it is no card.
        """
        data, reading = card["data"], card["reading"]
        given = json.dumps([data["paths"], data["limit"]])  # a fingerprint is of what could be scored of them
        return ScoredDocuments(
            name=str(card["model"]["name"]),
            documents=documents,
            tokenizer=str(card["tokenizer"]["sha256"]),
            data=given,
            reading={
                "context": reading["context"],
                "window": reading["window"],
                "stride": reading["stride"],
                "prefix": reading["prefix"]["policy"],
                "end": reading["end_scored"],
            },
            no_bytes=card["figures"]["no_bits"],
        )


def _read(folder: Path) -> ScoredDocuments:
    if (folder / STATE_FILE).exists():
        raise InputError(f"{folder} must be a finished evaluation, got one that was interrupted: run its command again")
    documents = read_document_lines(folder / DOCUMENTS_FILE)
    try:
        text = (folder / CARD_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ScoredDocuments(name=str(folder), documents=documents)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {folder / CARD_FILE}: {error}") from None
    try:
        return ScoredDocuments.of_card(json.loads(text), documents)
    except (json.JSONDecodeError, KeyError, TypeError):
        raise InputError(
            f"{folder / CARD_FILE} must be an evaluation card, got a damaged one: evaluate again"
        ) from None
