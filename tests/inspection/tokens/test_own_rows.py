"""Rows of Examples, packed rows and Targets: reasons, roles, weights, names."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import lmhead
from lmhead import Example, Reason, Targets, pack
from lmhead.errors import ArgumentError, ArgumentTypeError
from lmhead.inspection.tokens.own_rows import ALONE
from lmhead.labels.example import MessageSpan
from lmhead.labels.packing.wrapped_rows import DocumentStream, WrappedRows
from lmhead.record.token_row import Span
from lmhead.record.vocabulary import Piece


def conversation(*, weight=None) -> Example:
    """A user's two tokens, and an assistant's three."""
    reason = np.array([Reason.USER, Reason.USER, 0, 0, 0], np.uint8)
    return Example(
        ids=np.array([5, 6, 7, 8, 9], np.int32),
        trained=reason == 0,
        reason=reason,
        weight=weight,
        spans=(
            MessageSpan(index=0, role="user", start=0, stop=2),
            MessageSpan(index=1, role="assistant", start=2, stop=5),
        ),
    )


def names(row):
    return [Reason(value).name for value in row.reason]


def test_a_message_without_a_token_has_no_role_to_show():
    empty = MessageSpan(index=0, role="system", start=0, stop=0)
    example = conversation()
    seen = lmhead.inspect(replace(example, spans=(empty, *example.spans)))
    assert [span.role for span in seen.rows[0].spans] == ["user", "assistant"]
    assert "<!doctype html>" in seen.page()


def test_an_example_keeps_its_reasons_and_roles():
    (row,) = lmhead.inspect(conversation()).rows
    assert row.targets.tolist() == [-100, 7, 8, 9, -100]
    assert names(row) == ["USER", "SCORED", "SCORED", "SCORED", "END_OF_ROW"]
    assert row.spans == (Span(start=0, stop=2, role="user"), Span(start=2, stop=5, role="assistant"))


def test_weights_are_of_the_prediction():
    weight = np.array([1, 1, 0.5, 0, 2], np.float32)
    (row,) = lmhead.inspect([conversation(weight=weight)]).rows
    assert row.weight.tolist() == [0, 0.5, 0, 2, 0]
    assert names(row) == ["USER", "SCORED", "ZERO_WEIGHT", "SCORED", "END_OF_ROW"]


def test_packed_rows_have_the_roles_of_what_is_packed():
    packed = pack([conversation(), conversation()], length=12, overflow="drop")
    (row,) = lmhead.inspect(packed).rows
    assert row.document.tolist() == [0] * 5 + [1] * 5 + [-1] * 2
    assert [(span.start, span.stop, span.role) for span in row.spans] == [
        (0, 2, "user"),
        (2, 5, "assistant"),
        (5, 7, "user"),
        (7, 10, "assistant"),
    ]
    assert row.names == ("example 0", "example 1")
    assert names(row)[4] == "DOCUMENT_BOUNDARY"
    assert names(row)[9:] == ["PADDING"] * 3


def test_roles_of_a_document_that_is_split_are_cut_with_it():
    packed = pack([conversation()], length=3, overflow="split")
    rows = {tuple(row.ids.tolist()): row.spans for row in lmhead.inspect(packed).rows}
    assert rows[5, 6, 7] == (Span(start=0, stop=2, role="user"), Span(start=2, stop=3, role="assistant"))
    assert rows[8, 9, 0] == (Span(start=0, stop=2, role="assistant"),)


def test_a_packed_batch_is_its_targets():
    batch = pack([conversation()], length=6, overflow="drop").take(0, 1)
    (row,) = lmhead.inspect(batch).rows
    assert row.targets.tolist() == batch.targets.ids[0].tolist()
    assert row.reason.tolist() == batch.targets.reason[0].tolist()


def test_rows_that_attention_crosses_count_positions_through():
    batch = WrappedRows(DocumentStream.of([[11, 12, 13], [14, 15], [16, 17, 18, 19]]), length=8, seed=0).take(0, 1)
    (row,) = lmhead.inspect(batch).rows
    assert row.position.tolist() == list(range(8))
    assert row.targets.tolist() == batch.targets.ids[0].tolist()


@pytest.mark.parametrize("made", [lambda ids: ids, Targets.from_targets], ids=["a tensor", "Targets"])
def test_inputs_beside_targets_are_not_shifted(made):
    targets = made(torch.tensor([[6, 7, 8]]))
    (row,) = lmhead.inspect({"input_ids": torch.tensor([[5, 6, 7]]), "targets": targets}).rows
    assert (row.ids.tolist(), row.targets.tolist()) == ([5, 6, 7], [6, 7, 8])


def test_targets_alone_show_what_is_known():
    seen = lmhead.inspect(conversation().targets())
    (row,) = seen.rows
    assert row.ids.tolist() == [-1, -1, 7, 8, 9]
    assert seen.header["notes"] == [ALONE]
    assert seen.vocabulary[-1] == Piece(kind="control", text="[not given]")


def test_targets_alone_cannot_be_scored():
    with pytest.raises(ArgumentError, match="model must be left out where Targets come without their inputs"):
        lmhead.inspect(conversation().targets(), lmhead.GPT(12, 8, 2, 1))


@pytest.mark.parametrize("data", [5, None, [], [5], torch.tensor([5])])
def test_what_is_no_data_is_refused(data):
    with pytest.raises(ArgumentTypeError, match="data must be a batch, Targets, Examples or paths"):
        lmhead.inspect(data)


def test_rows_and_a_loader_are_told_from_a_batch():
    rows = [{"input_ids": [1, 2], "labels": [1, 2]}]
    with pytest.raises(ArgumentTypeError, match=r"got a list of rows \(give what the collator makes of them"):
        lmhead.inspect(rows)
    with pytest.raises(ArgumentTypeError, match=r"got DataLoader \(give one of its batches: next\(iter"):
        lmhead.inspect(torch.utils.data.DataLoader(rows))
