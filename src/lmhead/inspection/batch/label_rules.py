"""Findings about a batch's labels: one function a finding, each takes what it looks at.

`labels[t]` is the token AT t, and the model shifts them: position 0 is never scored.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from lmhead.inspection.batch.special_ids import SpecialIds
from lmhead.inspection.finding import Finding
from lmhead.inspection.remedies import OWN_PADDING
from lmhead.labels.collated.already_shifted import ALIGN, already_shifted
from lmhead.labels.collated.batch_columns import BatchColumns

_TOLD_WHOLE: Final = 4  # tokens that follow another: in shorter documents all may be an answer
_FEW: Final = 4  # so many times as many are trained in part; else both kinds are meant


def trained_positions(columns: BatchColumns, ignore_index: int) -> npt.NDArray[np.bool_]:
    """bool [R, T]: there is a label."""
    assert columns.labels is not None
    trained: npt.NDArray[np.bool_] = columns.present & (columns.labels != ignore_index)
    return trained


def shifted(columns: BatchColumns, trained: npt.NDArray[np.bool_]) -> Finding | None:
    """Nearly all labels are the next token's, and not their own."""
    assert columns.labels is not None
    of_next = already_shifted(columns.ids, columns.labels, trained)
    if of_next is None:
        return None
    return Finding.at(
        "labels_already_shifted",
        "error",
        of_next,
        "{count} labels are the token after their own: a model that shifts labels would learn the token after the next",
        f"{ALIGN}; ids that are shifted go where targets are asked for",
    )


def not_input_ids(columns: BatchColumns, trained: npt.NDArray[np.bool_]) -> Finding | None:
    """A label is neither ignored nor the token at its position."""
    assert columns.labels is not None
    return Finding.at(
        "labels_are_not_input_ids",
        "error",
        trained & (columns.labels != columns.ids),
        "{count} labels are another token than the one at their position",
        "build labels as a copy of input_ids, and then set -100; look for a collator that pads, truncates or rolls "
        "the two differently, or that masks tokens (mlm=True), which is for no causal model",
    )


def nothing_trained(trained: npt.NDArray[np.bool_]) -> Finding | None:
    """Nothing is left to learn in the batch, or in some rows, once the first position is shifted away."""
    without = np.asarray(~trained[:, 1:].any(axis=1))
    every = bool(without.all())
    return Finding.at(
        "nothing_trained" if every else "row_without_labels",
        "error" if every else "warning",
        without,
        "no label is scored in the whole batch" if every else "{count} rows have no label that is scored",
        "find where labels become -100: a response template that is not found, an answer behind the truncation, "
        "a mask the wrong way round",
    )


def padding_trained(columns: BatchColumns, trained: npt.NDArray[np.bool_], vocabulary: SpecialIds) -> Finding | None:
    """Padding has labels. Padding is what the mask or the documents say; without them, a row's run of pad ids."""
    hidden: npt.NDArray[np.bool_] = trained & ~columns.visible & ~_hidden_end(columns, trained, vocabulary)
    padding = hidden | (trained & _runs_of_padding(columns, vocabulary))
    return Finding.at(
        "padding_trained",
        "error",
        padding,
        "{count} labels are padding" + (", and every position of the batch is trained" if trained.all() else ""),
        "set labels to -100 where attention_mask is 0",
    )


def first_predicted_from_padding(columns: BatchColumns, trained: npt.NDArray[np.bool_]) -> Finding | None:
    """A text's first token is learnt behind padding on its left: what predicts it there is the padding."""
    from_padding = np.zeros_like(trained)
    from_padding[:, 1:] = (trained & columns.visible)[:, 1:] & columns.present[:, :-1] & ~columns.visible[:, :-1]
    return Finding.at(
        "first_predicted_from_padding",
        "warning",
        from_padding,
        "{count} labels are the first token of a text behind padding, which is what predicts them",
        "set the label of each text's first token to -100, or pad on the right",
    )


def end_hidden(columns: BatchColumns, trained: npt.NDArray[np.bool_], vocabulary: SpecialIds) -> Finding | None:
    """The end of a text is to be learnt, but the attention mask calls it padding."""
    return Finding.at(
        "end_hidden_by_mask",
        "error",
        _hidden_end(columns, trained, vocabulary),
        "{count} end-of-sequence tokens are trained, but attention_mask is 0 there",
        "build the mask from the lengths, not as input_ids != pad_token_id: pad and end share an id",
    )


def end_not_trained(columns: BatchColumns, trained: npt.NDArray[np.bool_], vocabulary: SpecialIds) -> Finding | None:
    """No end of sequence that follows a trained token is trained anywhere: the model would never learn to stop."""
    if vocabulary.eos is None:
        return None
    ends = columns.ids == vocabulary.eos
    follows = np.zeros_like(trained)
    follows[:, 1:] = trained[:, :-1]
    told = columns.visible if columns.mask is None else columns.present  # a mask may hide the end itself
    untrained = ends & follows & told & ~trained
    if bool((ends & trained)[:, 1:].any()):
        return None
    shared = vocabulary.pad == vocabulary.eos
    return Finding.at(
        "end_not_trained",
        "error" if shared else "warning",
        untrained,
        "{count} end-of-sequence tokens follow a trained token, and none is trained"
        + (": padding has the same id" if shared else ""),
        f"set -100 by attention_mask or lengths, not by labels == pad_token_id; or {OWN_PADDING}"
        if shared
        else "train the token that ends a turn, or the model will not stop",
    )


def labels_out_of_range(
    columns: BatchColumns, trained: npt.NDArray[np.bool_], vocabulary: SpecialIds
) -> Finding | None:
    """A label is no id: negative and not the ignore index, or beyond the vocabulary."""
    assert columns.labels is not None
    outside = columns.labels < 0
    if vocabulary.size is not None:
        outside = outside | (columns.labels >= vocabulary.size)
    return Finding.at(
        "labels_out_of_vocabulary",
        "error",
        trained & outside,
        "{count} labels are neither ids nor ignored",
        "ignored is -100; give ignore_index where it is another number",
    )


def everything_trained(columns: BatchColumns, trained: npt.NDArray[np.bool_]) -> Finding | None:
    """Every token of every row is trained: right for pretraining, not for conversations."""
    visible = columns.visible
    inner = visible[:, 1:] & ~columns.starts[:, 1:]
    if not inner.any() or not trained[:, 1:][inner].all():
        return None
    return Finding.at(
        "everything_trained",
        "info",
        np.asarray(visible.any(axis=1)),
        "every token is trained",
        "right for plain text; for conversations, -100 belongs on what the assistant does not write",
    )


def mask_lost(columns: BatchColumns, trained: npt.NDArray[np.bool_]) -> Finding | None:
    """A few documents are trained from their first word on, the others in part: what lost masks look like.

    Only of documents that begin with one id, as a template writes it: the piece of a conversation that was cut may be
    an answer from end to end.
    """
    known = columns.visible
    first = columns.starts | (known & ~np.pad(known, ((0, 0), (1, 0)))[:, :-1])
    document = np.cumsum(first).reshape(first.shape) * known  # from 1, over all rows; 0 is padding
    inner = known & ~first
    tokens = np.bincount(document[inner], minlength=int(document.max(initial=0)) + 1)
    learnt = np.bincount(document[inner & trained], minlength=len(tokens))
    begins = np.concatenate([[-1], columns.ids[first]])  # the first id of each document
    partly = (learnt > 0) & (learnt < tokens)
    usual, count = np.unique(begins[partly], return_counts=True)
    if not len(usual) or count.max() * 2 <= partly.sum():
        return None
    whole = (learnt == tokens) & (tokens >= _TOLD_WHOLE) & (begins == usual[count.argmax()])
    if whole.sum() * _FEW > partly.sum():
        return None
    return Finding.at(
        "mask_lost",
        "warning",
        first & whole[document],
        "documents that are trained whole: {count}; the others are trained in part",
        "right for plain text among conversations; else they lost the -100 of what the assistant does not write",
    )


def _hidden_end(columns: BatchColumns, trained: npt.NDArray[np.bool_], vocabulary: SpecialIds) -> npt.NDArray[np.bool_]:
    """The first masked token after a text that has no end yet, where it is a trained end of sequence."""
    hidden = np.zeros_like(trained)
    if vocabulary.eos is None or columns.mask is None:
        return hidden
    end = columns.ids == vocabulary.eos
    seen = columns.mask != 0
    hidden[:, 1:] = (end & trained & columns.present & ~seen)[:, 1:] & seen[:, :-1] & ~end[:, :-1]
    return hidden


def _runs_of_padding(columns: BatchColumns, vocabulary: SpecialIds) -> npt.NDArray[np.bool_]:
    """Trailing pad ids of each row where nothing else tells padding; of several that are ends, the first is the end."""
    none = np.zeros_like(columns.present)
    if vocabulary.pad is None or columns.mask is not None:
        return none
    pads = (columns.ids == vocabulary.pad) | ~columns.present
    trailing = np.logical_and.accumulate(pads[:, ::-1], axis=1)[:, ::-1] & columns.present
    if vocabulary.pad == vocabulary.eos:
        first = trailing.copy()
        first[:, 1:] &= ~trailing[:, :-1]
        trailing &= ~first
    return trailing
