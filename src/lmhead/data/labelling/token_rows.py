"""Rows of ids: ids and labels that somebody else made -> an Example, where they are aligned and of this tokenizer."""

import numpy as np
import numpy.typing as npt

from lmhead.data.formats.sample import TokenSample
from lmhead.errors import IGNORE_INDEX, ConversationError
from lmhead.labels.collated.already_shifted import ALIGN, already_shifted
from lmhead.labels.example import Example
from lmhead.labels.targets import Reason

_Ids = npt.NDArray[np.int64]


def token_example(sample: TokenSample, size: int) -> Example:
    """The Example of a row of ids; `size` is the tokenizer's.

    Raises:
        ConversationError: an id is not of this tokenizer, a label is not the id at its place, or nothing is learnt.
    """
    ids = np.asarray(sample.ids, dtype=np.int64)
    labels = ids if sample.labels is None else np.asarray(sample.labels, dtype=np.int64)
    outside = np.flatnonzero((ids < 0) | (ids >= size))
    if len(outside):
        raise ConversationError(
            f"input_ids[{outside[0]}] must be in [0, {size}), the tokenizer's ids, got {ids[outside[0]]}: give the "
            "tokenizer that made them",
            kind="ids_out_of_vocabulary",
        )
    trained = labels != IGNORE_INDEX
    wrong = np.flatnonzero(trained & (labels != ids))
    if len(wrong):
        raise _misaligned(ids, labels, trained, int(wrong[0]))
    if not trained[1:].any():
        raise ConversationError(
            f"labels must hold something to learn, got {IGNORE_INDEX} everywhere but at the first token, which nothing "
            "predicts: leave the row out",
            kind="nothing_to_train",
        )
    reason = np.where(trained, np.uint8(Reason.SCORED), np.uint8(Reason.IGNORED))
    return Example(ids=ids.astype(np.int32), trained=trained, reason=reason)


def _misaligned(ids: _Ids, labels: _Ids, trained: npt.NDArray[np.bool_], at: int) -> ConversationError:
    """Why labels are not the ids at their places: shifted by one, no ids, or something else."""
    if already_shifted(ids, labels, trained) is not None:
        return ConversationError(
            f"labels[{at}] must be {ids[at]}, the id at its place, or {IGNORE_INDEX}, got {labels[at]}, the id after "
            f"it: the labels look already shifted; {ALIGN}, for they are shifted here",
            kind="labels_already_shifted",
        )
    negative = ": ignored is -100" if labels[at] < 0 else ": a token is learnt where it stands, or not at all"
    return ConversationError(
        f"labels[{at}] must be {ids[at]}, the id at its place, or {IGNORE_INDEX}, got {labels[at]}{negative}",
        kind="labels_are_not_input_ids",
    )
