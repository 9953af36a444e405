"""Rows of anybody's batch: what a model that shifts labels is trained on, why not, and the audit at its place."""

import numpy as np
import pytest
import torch

import lmhead
from lmhead.errors import IGNORE_INDEX, ArgumentError
from lmhead.inspection.batch.special_ids import SpecialIds
from lmhead.inspection.tokens.batch_rows import BOTH, NO_LABELS, SHIFTED, batch_rows
from lmhead.inspection.tokens.inspect import inspect
from lmhead.labels.targets import Reason

NAMES = [reason.name for reason in sorted(Reason)]


def reasons(row):
    return [Reason(value).name for value in row.reason]


def only(batch, **options):
    (row,) = batch_rows(batch, SpecialIds(), **options).rows
    return row


def test_targets_are_the_labels_shifted_and_the_rest_says_why():
    row = only({"input_ids": [5, 6, 7, 8], "labels": [-100, -100, 7, 8]})
    assert row.targets.tolist() == [-100, 7, 8, -100]
    assert reasons(row) == ["IGNORED", "SCORED", "SCORED", "END_OF_ROW"]
    assert (row.document, row.position) == (None, None)


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_lists_arrays_and_tensors_are_the_same(kind):
    row = only({"input_ids": kind([[5, 6]]), "labels": kind([[5, 6]])})
    assert (row.ids.tolist(), row.targets.tolist()) == ([5, 6], [6, -100])


def test_padding_on_either_side_is_told_and_is_no_document():
    batch = {
        "input_ids": torch.tensor([[0, 0, 5, 6], [5, 6, 0, 0]]),
        "labels": torch.tensor([[-100, -100, 5, 6], [5, 6, -100, -100]]),
        "attention_mask": torch.tensor([[0, 0, 1, 1], [1, 1, 0, 0]]),
    }
    left, right = batch_rows(batch, SpecialIds()).rows
    assert left.document.tolist() == [-1, -1, 0, 0]
    assert reasons(left) == ["PADDING", "SCORED", "SCORED", "END_OF_ROW"]  # the first token has a label: it is learnt
    assert right.document.tolist() == [0, 0, -1, -1]
    assert reasons(right) == ["SCORED", "PADDING", "PADDING", "PADDING"]


def test_packed_documents_are_told_by_positions_and_their_borders_say_so():
    row = only(
        {"input_ids": [5, 6, 7, 8, 9], "labels": [-100, 6, 7, -100, 9], "position_ids": [0, 1, 2, 0, 1]},
    )
    assert row.document.tolist() == [0, 0, 0, 1, 1]
    assert row.position.tolist() == [0, 1, 2, 0, 1]
    assert reasons(row) == ["SCORED", "SCORED", "DOCUMENT_BOUNDARY", "SCORED", "END_OF_ROW"]


def test_a_border_that_is_learnt_is_shown_as_learnt_with_the_finding_there():
    batch = {"input_ids": [[5, 6, 7, 8]], "labels": [[-100, 6, 7, 8]], "cu_seqlens": [0, 2, 4]}
    made = batch_rows(batch, SpecialIds())
    assert made.rows[0].targets.tolist() == [6, 7, 8, -100]
    (finding,) = [each for each in made.findings if each.code == "boundary_scored"]
    assert finding.spots == ((0, 2),)


def test_labels_of_padding_are_shown_as_learnt_with_the_finding_there():
    batch = {"input_ids": [[5, 6, 0]], "labels": [[5, 6, 0]], "attention_mask": [[1, 1, 0]]}
    made = batch_rows(batch, SpecialIds())
    assert reasons(made.rows[0]) == ["SCORED", "SCORED", "PADDING"]
    (finding,) = [each for each in made.findings if each.code == "padding_trained"]
    assert finding.spots == ((0, 2),)


def test_labels_that_look_shifted_are_shown_as_they_would_be_learnt_under_a_banner():
    made = batch_rows({"input_ids": [[5, 6, 7, 8]], "labels": [[6, 7, 8, -100]]}, SpecialIds())
    assert made.notes == (SHIFTED,)
    assert made.rows[0].targets.tolist() == [7, 8, -100, -100]
    assert made.findings[0].code == "labels_already_shifted"
    assert made.findings[0].spots == ((0, 0), (0, 1), (0, 2))


def test_a_batch_without_labels_is_shown_unscored_and_said_so():
    made = batch_rows({"input_ids": [[5, 6, 7]]}, SpecialIds())
    assert made.notes == (NO_LABELS,)
    assert made.rows[0].targets.tolist() == [-100] * 3
    assert reasons(made.rows[0]) == ["IGNORED", "IGNORED", "END_OF_ROW"]


def test_of_labels_and_targets_the_labels_are_shown_and_said_so():
    made = inspect({"input_ids": [[5, 6, 7]], "labels": [[-100, 6, -100]], "targets": [[6, 7, -100]]})
    assert made.rows[0].targets.tolist() == [6, -100, -100]
    assert BOTH in made.header["notes"]


@pytest.mark.parametrize("name", ["assistant_masks", "completion_mask"])
def test_a_mask_in_place_of_labels_tells_what_is_learnt(name):
    made = batch_rows({"input_ids": [[5, 6, 7]], name: [[0, 1, 1]]}, SpecialIds())
    assert made.rows[0].targets.tolist() == [6, 7, -100]
    assert name in made.notes[0]


def test_rows_of_unequal_length_keep_theirs():
    made = batch_rows({"input_ids": [[5, 6, 7], [8, 9]], "labels": [[5, 6, 7], [8, 9]]}, SpecialIds())
    assert [row.ids.tolist() for row in made.rows] == [[5, 6, 7], [8, 9]]
    assert [row.targets.tolist() for row in made.rows] == [[6, 7, -100], [9, -100]]


def test_another_ignore_index_is_no_id():
    row = only({"input_ids": [5, 6, 7], "labels": [-1, -1, 7]}, ignore_index=-1)
    assert row.targets.tolist() == [IGNORE_INDEX, 7, IGNORE_INDEX]


def test_documents_of_any_numbers_are_counted_from_0():
    row = only({"input_ids": [5, 6, 7, 8], "labels": [5, 6, -100, 8], "seq_idx": [7, 7, 3, 3]})
    assert row.document.tolist() == [0, 0, 1, 1]


def test_what_is_no_batch_is_refused_in_one_line():
    with pytest.raises(ArgumentError, match="batch must have input_ids, got chosen_input_ids"):
        inspect({"chosen_input_ids": [[1]]})


@pytest.mark.parametrize("packing", [False, True])
def test_batches_of_trls_collators(packing):
    trl = pytest.importorskip("trl", reason="TRL is not installed: pip install 'lmhead[test]'")
    collator = trl.trainer.sft_trainer.DataCollatorForLanguageModeling(pad_token_id=0, padding_free=packing)
    rows = [
        {"input_ids": [5, 6, 7], "completion_mask": [0, 1, 1]},
        {"input_ids": [8, 9], "completion_mask": [0, 1]},
    ]
    seen = inspect(collator(rows))
    assert sum(int((row.targets != IGNORE_INDEX).sum()) for row in seen.rows) == 3
    learnt = sorted(number for row in seen.rows for number in row.targets.tolist() if number >= 0)
    assert learnt == [6, 7, 9]
    assert seen.tokens == 5
    assert not seen.errors
    if packing:
        assert seen.rows[0].document.tolist() == [0, 0, 0, 1, 1]
        assert reasons(seen.rows[0])[2] == "DOCUMENT_BOUNDARY"
    else:
        assert reasons(seen.rows[1]) == ["SCORED", "PADDING", "PADDING"]


def test_a_mask_of_which_token_sees_which_tells_documents_and_each_is_read_alone():
    torch.manual_seed(0)
    model = lmhead.GPT(50, 16, 2, 1, 32).eval()
    ids, labels = torch.randint(50, (1, 9)), torch.full((1, 9), -100)
    labels[0, [2, 5, 7]] = ids[0, [2, 5, 7]]
    same = torch.block_diag(torch.ones(4, 4), torch.ones(5, 5)).tril() > 0
    seen = inspect({"input_ids": ids, "labels": labels, "attention_mask": same[None, None]}, model)
    (row,) = seen.rows
    assert row.document.tolist() == [0] * 4 + [1] * 5
    alone = [inspect({"input_ids": part, "labels": part}, model).rows[0] for part in (ids[:, :4], ids[:, 4:])]
    np.testing.assert_allclose(row.scores.nll, np.concatenate([part.scores.nll for part in alone]), rtol=1e-5)
