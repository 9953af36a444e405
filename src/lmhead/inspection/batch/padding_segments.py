"""Padding that is packed as a segment of its own, as variable-length kernels need it: no document, though it looks one.

Positions that restart and cumulative lengths tell where each segment begins, and not which is padding. One whose tokens
are all the same, and of which nothing is learnt, is.
"""

import itertools
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lmhead.labels.collated.batch_columns import BatchColumns
from lmhead.labels.collated.batch_documents import BOUND_KEYS, LENGTH_KEYS


def without_padding(columns: BatchColumns, trained: npt.NDArray[np.bool_]) -> BatchColumns:
    """The columns with no document at padding, where it is positions or lengths that tell the documents."""
    if columns.document is None or columns.told_by not in ("position_ids", *BOUND_KEYS, *LENGTH_KEYS):
        return columns
    document = columns.document.copy()
    begins = np.ones_like(columns.present)
    begins[:, 1:] = document[:, 1:] != document[:, :-1]
    for row, ids in enumerate(columns.ids):
        length = int(columns.present[row].sum())
        for start, stop in _runs(ids[:length]):
            first = start + int(np.argmax(begins[row, start:stop]))  # the end of a text may have padding's id
            ends = stop == length or begins[row, stop]
            several = stop - first >= 2 or stop == length
            if begins[row, first] and ends and several and first and not trained[row, first:stop].any():
                document[row, first:stop] = -1
    return replace(columns, document=document)


def trailing(columns: BatchColumns, token: int) -> npt.NDArray[np.bool_]:
    """Positions from which on a row holds nothing but `token`."""
    same = (columns.ids == token) | ~columns.present
    tail: npt.NDArray[np.bool_] = np.logical_and.accumulate(same[:, ::-1], axis=1)[:, ::-1] & columns.present
    return tail


def _runs(ids: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """(start, stop) of each longest run of one id."""
    edges = [0, *(np.flatnonzero(np.diff(ids)) + 1).tolist(), len(ids)]
    return [(start, stop) for start, stop in itertools.pairwise(edges) if start < stop]
