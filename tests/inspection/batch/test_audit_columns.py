"""Batches in the words of other tools: how documents and positions are told."""

import numpy as np
import pytest
import torch

from lmhead import audit
from lmhead.errors import ArgumentError

X = -100
IDS = [[5, 6, 7, 8, 9, 10, 11, 12, 0, 0]]  # three documents of 3, 2 and 3 tokens, and padding
LABELS = [[X, 6, 7, X, 9, X, 11, 12, X, X]]
SCORED = [[X, 6, 7, 8, 9, 10, 11, 12, X, X]]  # at the beginning of two documents too
POSITIONS = [[0, 1, 2, 0, 1, 0, 1, 2, 0, 0]]


def codes(batch):
    return [finding.code for finding in audit(batch).findings if finding.severity != "info"]


def batch(labels=LABELS, **columns):
    return {"input_ids": IDS, "labels": labels, "position_ids": POSITIONS, **columns}


TOLD = {
    "cu_seqlens": [0, 3, 5, 8, 10],
    "cu_seqlens without the padding": [0, 3, 5, 8],
    "cu_seqlens of each row": [[0, 3, 5, 8, -1, -1]],
    "cu_seq_lens_q": torch.tensor([0, 3, 5, 8, 10], dtype=torch.int32),
    "seq_lengths": [[3, 2, 3]],
    "seq_lengths of one row": [3, 2, 3],
    "seq_lens": torch.tensor([[3, 2, 3, 0, 0]]),
    "packed_seq_lens": [3, 2, 3],
    "sequence_id": [[0, 0, 0, 1, 1, 2, 2, 2, -1, -1]],
    "seq_idx": [[0, 0, 0, 1, 1, 2, 2, 2, 3, 3]],
    "attention_mask": [[1, 1, 1, 2, 2, 3, 3, 3, 0, 0]],
}


@pytest.mark.parametrize("told", TOLD)
def test_documents_are_told_by_the_columns_of_any_tool(told):
    column = {told.partition(" ")[0]: TOLD[told]}
    assert codes(batch(**column)) == []
    (error,) = audit(batch(SCORED, **column)).errors
    assert (error.code, error.count) == ("boundary_scored", 2)
    assert codes(batch(position_ids=None, **column)) == ["no_position_ids"]


@pytest.mark.parametrize(
    "column",
    [
        {"seq_lengths": [[2, 1], [4]]},
        {"seq_lengths": [2, 1, 4]},
        {"cu_seqlens": [0, 2, 3, 7]},
        {"cu_seqlens": [[0, 2, 3, -1], [0, 4, -1, -1]]},
    ],
)
@pytest.mark.parametrize("padded", [False, True])
def test_rows_of_unequal_length_are_told_one_by_one_or_end_to_end(column, padded):
    fill = [0] * padded
    rows = {
        "input_ids": [[5, 6, 7, *fill], [8, 9, 10, 11]],
        "labels": [[X, 6, 7, *[X] * padded], [X, 9, 10, 11]],
        "position_ids": [[0, 1, 0, *fill], [0, 1, 2, 3]],
    }
    mask = {"attention_mask": [[1, 1, 1, 0], [1, 1, 1, 1]]} if padded else {}
    (error,) = audit({**rows, **mask, **column}).errors
    assert (error.code, error.count, error.rows) == ("boundary_scored", 1, (0,))


def test_lengths_of_rows_that_are_one_document_each_are_no_packing():
    rows = {"input_ids": [[5, 6, 0], [7, 8, 9]], "labels": [[X, 6, X], [X, 8, 9]], "seq_lengths": [2, 3]}
    report = audit(rows)
    assert (codes(rows), report.tokens) == ([], 5)


@pytest.mark.parametrize("first", [0, 1, 2, 7])
def test_positions_may_begin_at_any_number(first):
    positions = [[place + first for place in POSITIONS[0][:8]]]
    rows = {"input_ids": [IDS[0][:8]], "position_ids": positions}
    assert codes(rows | {"labels": [LABELS[0][:8]]}) == []
    (error,) = audit(rows | {"labels": [SCORED[0][:8]]}).errors
    assert (error.code, error.count) == ("boundary_scored", 2)
    assert codes(rows | {"labels": [LABELS[0][:8]], "seq_lengths": [[3, 2, 3]]}) == []
    going_on = {"seq_lengths": [[3, 2, 3]], "position_ids": [list(range(first, first + 8))]}
    (error,) = audit(rows | {"labels": [LABELS[0][:8]]} | going_on).errors
    assert (error.code, error.count) == ("positions_do_not_restart", 2)


def test_a_document_that_was_begun_in_an_earlier_row_does_not_hide_that_the_next_restarts():
    rows = {"input_ids": [IDS[0][:5]], "labels": [[X, 6, 7, X, 9]], "seq_lengths": [[3, 2]]}
    assert codes(rows | {"position_ids": [[37, 38, 39, 0, 1]]}) == []
    assert codes(rows | {"position_ids": [[37, 38, 39, 40, 41]]}) == ["positions_do_not_restart"]


PLANES = np.array([POSITIONS] * 4)  # [4, 1, 10]
PICTURE = np.array([[[0, 1, 1, 1, 2, 0, 1, 2]], [[0, 1, 1, 2, 3, 0, 1, 2]], [[0, 1, 2, 1, 3, 0, 1, 2]]])
# [3, 1, 8]: a picture of three patches in the first document, and a second document


@pytest.mark.parametrize(
    "positions",
    [
        PLANES[:3],
        PLANES,
        torch.from_numpy(PLANES[:3]),
        PLANES[:3].tolist(),
        PLANES[:3, 0],
        PLANES.transpose(1, 0, 2),
    ],
    ids=["three planes", "four", "a tensor", "lists", "of one row", "rows first"],
)
def test_positions_of_several_planes_tell_documents(positions):
    assert codes(batch(position_ids=positions)) == []
    (error,) = audit(batch(SCORED, position_ids=positions)).errors
    assert (error.code, error.count) == ("boundary_scored", 2)


def test_pictures_are_no_documents():
    rows = {"input_ids": [IDS[0][:8]], "position_ids": PICTURE}
    assert codes(rows | {"labels": [[X, 6, 7, 8, 9, X, 11, 12]]}) == []
    (error,) = audit(rows | {"labels": [IDS[0][:8]]}).errors
    assert (error.code, error.count) == ("boundary_scored", 1)
    counted = np.concatenate([[[[0, 1, 2, 3, 4, 0, 1, 2]]], PICTURE])
    (error,) = audit(rows | {"labels": [IDS[0][:8]], "position_ids": counted}).errors
    assert (error.code, error.count) == ("boundary_scored", 1)


@pytest.mark.parametrize(
    ("column", "rule"),
    [
        ({"seq_lengths": [[3, 2, 30]]}, "seq_lengths must be lengths that come to at most 10 tokens in row 0"),
        ({"seq_lengths": [3, 2, 30]}, "seq_lengths must rise from 0 to the number of tokens, 10"),
        ({"cu_seqlens": [0, 3, 11]}, "cu_seqlens must rise from 0 to the number of tokens, 10"),
        ({"cu_seqlens": [0, 5, 3, 10]}, "cu_seqlens must rise"),
        ({"position_ids": [[[0] * 10] * 2]}, r"position_ids must be \[T\] or \[R, T\]"),
        ({"position_ids": [[[0] * 9] * 1] * 3}, "position_ids must have as many tokens in each row"),
    ],
)
def test_columns_that_do_not_fit_the_rows_are_named(column, rule):
    with pytest.raises(ArgumentError, match=rule):
        audit(batch(**column))
