"""Window batches: documents -> rows of about one length, padded at their ends, which a causal model cannot see."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from lmhead.errors import IGNORE_INDEX
from lmhead.evaluation.documents.document import EvaluationDocument
from lmhead.evaluation.scores.windows import Window, Windows
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.targets import Targets


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A window of a document."""

    document: int  # its place among those given
    window: Window


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowBatch:
    """Rows that are read at once, each one window; targets are scored where the window keeps them."""

    batch: PackedBatch
    rows: tuple[Placed, ...]


def window_batches(
    documents: Sequence[EvaluationDocument], windows: Windows, *, tokens: int, pad_id: int = 0
) -> Iterator[WindowBatch]:
    """All windows of these documents, the longest first; documents without a scored token are not read.

    Args:
        tokens: of a batch at most, padding included, but one window there is.
    """
    placed = [
        Placed(document=number, window=window)
        for number, document in enumerate(documents)
        if document.scored.any()
        for window in windows.over(len(document) - 1)  # nothing is predicted from the last token
    ]
    kept = [each for each in placed if _scored(documents[each.document], each.window).any()]
    together: list[Placed] = []
    for each in sorted(kept, key=lambda each: -len(each.window)):
        if together and len(together[0].window) * (len(together) + 1) > tokens:
            yield _batch(documents, together, pad_id)
            together = []
        together.append(each)
    if together:
        yield _batch(documents, together, pad_id)


def _scored(document: EvaluationDocument, window: Window) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Of each kept position, whether the token behind it is scored."""
    return document.scored[window.keep + 1 : window.stop + 1]


def _batch(documents: Sequence[EvaluationDocument], rows: Sequence[Placed], pad_id: int) -> WindowBatch:
    shape = len(rows), len(rows[0].window)
    ids, targets, document = np.full(shape, pad_id, np.int64), np.full(shape, IGNORE_INDEX), np.full(shape, -1)
    for row, placed in enumerate(rows):
        of, window = documents[placed.document], placed.window
        ids[row, : len(window)] = of.example.ids[window.start : window.stop]
        document[row, : len(window)] = 0
        begin = window.keep - window.start
        following = of.example.ids[window.keep + 1 : window.stop + 1]
        targets[row, begin : len(window)] = np.where(_scored(of, window), following, IGNORE_INDEX)
    # the last target of a row stands behind it: documents are told, and close nothing
    made = replace(Targets.from_targets(torch.from_numpy(targets)), document=torch.from_numpy(document))
    sources = tuple((placed.document,) for placed in rows)
    batch = PackedBatch(ids=torch.from_numpy(ids), targets=made, sources=sources, isolated=False)
    return WindowBatch(batch=batch, rows=tuple(rows))
