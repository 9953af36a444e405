"""Why a position is not scored, as the loop and the evaluation have it of texts and of conversations."""

import dataclasses

import numpy as np
import torch

from lmhead.batches.chat import ChatRows, HeldOutChat
from lmhead.batches.text import TextRows
from lmhead.data.labelling.outcome import Labelled
from lmhead.data.rows.row import Place
from lmhead.data.sets.documents import DocumentNames
from lmhead.data.tokenizer.train_tokenizer import train_tokenizer
from lmhead.labels.example import Example
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.packing.wrapped_rows import DocumentStream
from lmhead.labels.targets import Reason

LEARNT = Reason.SCORED


def conversation(number: int, reasons: list[Reason], weight: list[float] | None = None) -> Labelled:
    trained = [reason == LEARNT for reason in reasons]
    example = Example.of([number] * len(reasons), trained=trained)
    example = dataclasses.replace(
        example,
        reason=np.array(reasons, np.uint8),
        weight=None if weight is None else np.array(weight, np.float32),
    )
    return Labelled(place=Place(source="a", number=number), example=example)


def reasons(batch: PackedBatch) -> list[list[Reason]]:
    return [[Reason(value) for value in row] for row in batch.targets.reason.tolist()]


ASKED = [Reason.SYSTEM, Reason.USER, Reason.SCAFFOLD, LEARNT, LEARNT]


def test_rows_of_conversations_say_why_each_position_is_not_scored() -> None:
    labelled = [conversation(1, ASKED, [1, 1, 1, 0.5, 0]), conversation(2, [Reason.TOOL, LEARNT])]
    batch = ChatRows(labelled, length=8, seed=0, pad_id=0).take(0, 1)
    first = [Reason.USER, Reason.SCAFFOLD, LEARNT, Reason.ZERO_WEIGHT, Reason.DOCUMENT_BOUNDARY]
    assert reasons(batch) == [[*first, LEARNT, Reason.PADDING, Reason.PADDING]]
    assert batch.targets.weight is not None
    assert batch.targets.weight.tolist() == [[0, 0, 0.5, 0, 0, 1, 0, 0]]
    assert batch.isolated


def test_held_out_conversations_say_it_too_and_attention_needs_no_mask() -> None:
    labelled = [conversation(65, [Reason.USER, LEARNT]), conversation(66, ASKED, [1, 1, 1, 0.5, 0])]
    (batch,) = HeldOutChat(labelled, train_tokenizer(["ab"], 258), length=8).batches()
    assert reasons(batch) == [
        [Reason.USER, Reason.SCAFFOLD, LEARNT, Reason.ZERO_WEIGHT, Reason.END_OF_ROW],
        [LEARNT, *[Reason.PADDING] * 4],
    ]
    assert batch.sources == ((1,), (0,))
    assert batch.attention_document is None


def test_rows_of_texts_know_their_documents_and_attention_crosses_them() -> None:
    stream = DocumentStream.of([[1, 2, 3], [4, 5], [6, 7, 8, 9]])
    names = DocumentNames(["a", "b", "c"], np.arange(3), np.full(3, -1))
    batch = TextRows(stream, names, length=8, seed=0).take(0, 1)
    assert reasons(batch)[0].count(Reason.DOCUMENT_BOUNDARY) == 2
    assert batch.document.tolist() == [[0, 0, 0, 1, 1, 2, 2, 2]]
    assert batch.attention_document is None


def test_moving_a_batch_moves_all_of_it() -> None:
    labelled = [conversation(1, ASKED, [1, 1, 1, 0.5, 0])]
    batch = ChatRows(labelled, length=8, seed=0, pad_id=0).take(0, 1).to("meta")
    tensors = [batch.ids, batch.targets.ids, batch.targets.reason, batch.targets.weight, batch.document]
    assert {tensor.device for tensor in tensors if tensor is not None} == {torch.device("meta")}
    assert {tensor.device for tensor in batch.for_transformers().values()} == {torch.device("meta")}
