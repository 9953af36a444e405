"""Documents read ahead: some batches' worth at a time, so that rows of about one length meet."""

from collections.abc import Iterable, Iterator
from typing import Final

from lmhead.evaluation.documents.document import EvaluationDocument

_BATCHES: Final = 4  # more waste less padding; an interruption costs what is read ahead


def read_ahead(documents: Iterable[EvaluationDocument], *, tokens: int) -> Iterator[list[EvaluationDocument]]:
    """The documents in their order, as many at a time as fill some batches.

    Args:
        tokens: of a batch.
    """
    waiting: list[EvaluationDocument] = []
    size = 0
    for document in documents:
        waiting.append(document)
        size += len(document)
        if size >= tokens * _BATCHES:
            yield waiting
            waiting, size = [], 0
    if waiting:
        yield waiting
