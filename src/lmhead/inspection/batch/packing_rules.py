"""Findings about a batch's ids, positions and documents: one function a finding."""

import numpy as np
import numpy.typing as npt

from lmhead.inspection.batch.padding_segments import trailing
from lmhead.inspection.batch.special_ids import SpecialIds
from lmhead.inspection.finding import Finding
from lmhead.inspection.remedies import RENDERED
from lmhead.labels.collated.batch_columns import BatchColumns
from lmhead.labels.collated.batch_documents import BOUND_KEYS, LENGTH_KEYS

_ISOLATION = "and keep documents apart in attention too (lmhead.check_isolation tells whether a model does)"


def ids_out_of_vocabulary(columns: BatchColumns, vocabulary: SpecialIds) -> Finding | None:
    """An input id is negative or beyond the tokenizer's last."""
    outside = columns.ids < 0
    if vocabulary.size is not None:
        outside = outside | (columns.ids >= vocabulary.size)
    size = "" if vocabulary.size is None else f" of {vocabulary.size} tokens"
    return Finding.at(
        "ids_out_of_vocabulary",
        "error",
        columns.present & outside,
        f"{{count}} input ids are not in the vocabulary{size}",
        "encode with the tokenizer of the model; if tokens were added, resize the model's embeddings and give that "
        "tokenizer here",
    )


def boundary_scored(columns: BatchColumns, trained: npt.NDArray[np.bool_], vocabulary: SpecialIds) -> Finding | None:
    """The first token of a document is a label, so that it is predicted from the end of the document before."""
    inferred = columns.document is None
    starts = _starts_by_bos(columns, vocabulary) if inferred else columns.starts
    told_by = "a beginning-of-sequence token" if inferred else columns.told_by
    return Finding.at(
        "boundary_scored",
        "warning" if inferred else "error",
        starts & trained,
        f"{{count}} documents have their first token predicted from the document before (documents by {told_by})",
        "set labels to -100 at the first token of each document",
    )


def positions_do_not_restart(columns: BatchColumns, vocabulary: SpecialIds) -> Finding | None:
    """Documents share a row, and positions go on counting across their border."""
    inferred = columns.document is None or columns.told_by == "position_ids"
    starts = _starts_by_bos(columns, vocabulary) if inferred else columns.starts
    if columns.positions is None and not inferred:
        return Finding.at(
            "no_position_ids",
            "warning",
            starts,
            "{count} documents begin inside a row, and there are no position_ids",
            f"give position_ids that restart at 0 in each document, {_ISOLATION}",
        )
    going_on = starts if columns.positions is None else starts & (columns.positions != _first(columns, starts))
    return Finding.at(
        "positions_do_not_restart",
        "warning" if inferred else "error",
        going_on,
        "{count} documents begin inside a row without their positions restarting"
        + (" (documents by a beginning-of-sequence token)" if inferred else ""),
        f"give position_ids that restart at 0 in each document, {_ISOLATION}",
    )


def _first(columns: BatchColumns, starts: npt.NDArray[np.bool_]) -> int:
    """The position at which documents begin: 0 mostly, 1 for some tools."""
    assert columns.positions is not None
    begins = starts | (columns.visible & (columns.visible.cumsum(axis=1) == 1))
    return int(columns.positions[begins].min(initial=np.iinfo(np.int64).max))


def mask_beside_packing(columns: BatchColumns) -> Finding | None:
    """A 2-D mask of ones in packed rows: transformers finds the documents by the positions only where there is none."""
    if columns.mask is None or columns.told_by not in ("position_ids", *BOUND_KEYS, *LENGTH_KEYS):
        return None
    return Finding.at(
        "mask_beside_packing",
        "warning",
        columns.starts,
        "{count} documents begin inside a row, and a 2-D attention_mask lets each see those before it",
        "leave attention_mask out, so that transformers tells documents by position_ids, or give a 4-D block mask "
        "(PackedBatch.for_transformers)",
    )


def double_bos(columns: BatchColumns, vocabulary: SpecialIds) -> Finding | None:
    """Two beginning-of-sequence tokens in a row: a template's, and one that the tokenizer added."""
    if vocabulary.bos is None or vocabulary.bos in (vocabulary.eos, vocabulary.pad):
        return None
    begins = (columns.ids == vocabulary.bos) & columns.visible & ~trailing(columns, vocabulary.bos)
    twice = np.zeros_like(begins)
    twice[:, 1:] = begins[:, 1:] & begins[:, :-1] & ~columns.starts[:, 1:]
    return Finding.at(
        "double_bos",
        "warning",
        twice,
        "{count} texts begin with two beginning-of-sequence tokens",
        f"the template writes one: {RENDERED}",
    )


def _starts_by_bos(columns: BatchColumns, vocabulary: SpecialIds) -> npt.NDArray[np.bool_]:
    """Documents that begin inside a row, told by a token that only begins, the best guess where nothing tells them."""
    starts = np.zeros_like(columns.present)
    if vocabulary.bos is None or vocabulary.bos in (vocabulary.eos, vocabulary.pad):
        return starts
    begins = (columns.ids == vocabulary.bos) & columns.visible & ~trailing(columns, vocabulary.bos)
    starts[:, 1:] = begins[:, 1:] & ~begins[:, :-1] & columns.visible[:, :-1]
    return starts
