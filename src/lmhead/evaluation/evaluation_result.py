"""EvaluationResult: what `lmhead.evaluate` made: the card, each document's sums, the worst of them; on disk too."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

from lmhead.errors import require_path
from lmhead.evaluation.card.evaluation_card import EvaluationCard
from lmhead.evaluation.folder.document_lines import DOCUMENTS_FILE, read_document_lines
from lmhead.evaluation.sums.document_sums import DocumentSums
from lmhead.evaluation.sums.worst_documents import WorstDocuments
from lmhead.training.run.files import replace_file

CARD_FILE: Final = "card.json"


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EvaluationResult:
    """One model on one set of documents.

    found = lmhead.evaluate("runs/a", "valid/")
    print(found)                          # the card, for a terminal
    found.card.figures.bits_per_byte
    """

    card: EvaluationCard
    documents: tuple[DocumentSums, ...] = field(repr=False)  # in the order of the data
    worst: WorstDocuments | None = field(default=None, repr=False)  # None: of one that was read back

    def __str__(self) -> str:
        return self.card.text()

    @staticmethod
    def read(folder: str | Path) -> "EvaluationResult":
        """What lies in the folder of an evaluation.

        Raises:
            InputError: it is none, is unfinished or damaged.
        """
        require_path("folder", folder)
        path = Path(folder)
        card = EvaluationCard.read(path / CARD_FILE)
        return EvaluationResult(card=card, documents=tuple(read_document_lines(path / DOCUMENTS_FILE)))

    def write(self, folder: Path) -> None:
        """card.json, card.md and card.html; the documents are there.

        Raises:
            InputError: the disk refuses.
        """
        replace_file(folder / CARD_FILE, self.card.json())
        replace_file(folder / "card.md", self.card.markdown())
        replace_file(folder / "card.html", self.card.html())
