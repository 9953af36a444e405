"""Audited rows: a part of the data, spread over it, as rows that any reading takes: ids, targets, bytes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from lmhead.errors import IGNORE_INDEX
from lmhead.evaluation.documents.document import EvaluationDocument

MOST: Final = 4  # rows of a document
SPARE: Final = 3  # positions of the context that rows leave for padding


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AuditedRow:
    """Positions of a document that are read by themselves. A causal model's scores do not depend on what follows."""

    name: str  # of the document
    start: int  # of its first position in the document
    ids: npt.NDArray[np.int64]  # [T]
    targets: npt.NDArray[np.int64]  # [T]: the token to predict from each, -100 where it is not scored
    ends: npt.NDArray[np.int64] | None  # [T]: bytes that the targets up to and with this one stand for

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def scored(self) -> npt.NDArray[np.bool_]:
        """[T]."""
        return np.not_equal(self.targets, IGNORE_INDEX)

    def first(self, length: int) -> "AuditedRow":
        """Its first positions."""
        ends = None if self.ends is None else self.ends[:length]
        return replace(self, ids=self.ids[:length], targets=self.targets[:length], ends=ends)

    @property
    def bytes(self) -> int | None:
        """Of the text that its targets stand for."""
        return None if self.ends is None else int(self.ends[-1])


def audited_rows(documents: Sequence[EvaluationDocument], *, length: int) -> list[AuditedRow]:
    """Rows of `length` positions at most, `MOST` of a document, those where one of them is scored."""
    rows = [
        _row(document, start, length)
        for document in documents
        for start in range(0, min(len(document) - 1, MOST * length), length)
    ]
    return [row for row in rows if row.scored.any()]


def _row(document: EvaluationDocument, start: int, length: int) -> AuditedRow:
    stop = min(start + length, len(document) - 1)  # nothing is predicted from the last token
    ids = document.example.ids.astype(np.int64)
    ends = None
    if document.ends is not None and document.utf8 is not None:
        ends = document.ends[start + 1 : stop + 1] - document.ends[start]
    return AuditedRow(
        name=document.name,
        start=start,
        ids=ids[start:stop],
        targets=np.where(document.scored[start + 1 : stop + 1], ids[start + 1 : stop + 1], IGNORE_INDEX),
        ends=ends,
    )


def spread_documents(
    documents: Iterable[EvaluationDocument], *, tokens: int, length: int
) -> tuple[list[EvaluationDocument], int]:
    """(documents spread evenly over all, in their order, about so many tokens; how many there are).

    The same in every run, in the memory of twice the part: every k-th is kept, and k doubles when they are too many.

    Args:
        tokens: of the kept documents, each counted up to `length`.
    """
    kept: list[tuple[int, EvaluationDocument]] = []
    every, count = 1, 0
    for count, document in enumerate(documents, 1):
        if (count - 1) % every == 0:
            kept.append((count - 1, document))
            while len(kept) > 1 and sum(min(len(each), length) for _, each in kept) > tokens:
                every *= 2
                kept = [(number, each) for number, each in kept if number % every == 0]
    return [each for _, each in kept], count
