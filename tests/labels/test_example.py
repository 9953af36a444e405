"""An example's labels, its shift, and its reasons."""

import numpy as np
import pytest
import torch

from lmhead.errors import ArgumentError
from lmhead.labels.example import Example
from lmhead.labels.targets import Reason, Targets

X = -100


def example(weight=None):
    reason = [Reason.SYSTEM, Reason.SCAFFOLD, Reason.SCORED, Reason.SCORED, Reason.USER]
    return Example(
        ids=np.array([4, 5, 6, 7, 8], np.int32),
        trained=np.array([value == Reason.SCORED for value in reason]),
        reason=np.array(reason, np.uint8),
        weight=weight,
    )


def test_labels_are_the_ids_that_are_trained():
    assert example().labels().tolist() == [X, X, 6, 7, X]
    assert example().labels(ignore_index=-1).tolist() == [-1, -1, 6, 7, -1]
    assert example().labels().dtype == np.int64
    assert len(example()) == 5


def test_targets_say_why_each_position_is_not_scored():
    targets = example().targets()
    assert targets.ids.tolist() == [X, 6, 7, X, X]
    names = [Reason(value).name for value in targets.reason.tolist()]
    assert names == ["SCAFFOLD", "SCORED", "SCORED", "USER", "END_OF_ROW"]


def test_weights_are_shifted_with_the_labels():
    targets = example(np.array([1, 1, 0.5, 2, 1], np.float32)).targets()
    assert targets.weight.tolist() == [0, 0.5, 2, 0, 0]


def test_a_reason_keeps_an_id_from_being_scored():
    reason = torch.tensor([0, 0, int(Reason.USER)], dtype=torch.uint8)
    targets = Targets.from_labels(torch.tensor([5, 6, 7]), reason=reason)
    assert targets.ids.tolist() == [6, X, X]
    assert targets.tally() == {Reason.SCORED: 1, Reason.END_OF_ROW: 1, Reason.USER: 1}


def test_an_ignored_label_without_a_reason_of_its_own_is_ignored():
    targets = Targets.from_labels(torch.tensor([5, X, 7]), reason=torch.zeros(3, dtype=torch.uint8))
    assert targets.tally() == {Reason.SCORED: 1, Reason.IGNORED: 1, Reason.END_OF_ROW: 1}


def test_a_document_boundary_says_more_than_the_role_behind_it():
    reason = torch.tensor([0, 0, int(Reason.USER), 0], dtype=torch.uint8)
    targets = Targets.from_labels(torch.tensor([5, 6, 7, 8]), reason=reason, document=torch.tensor([0, 0, 1, 1]))
    assert Reason(int(targets.reason[1])) is Reason.DOCUMENT_BOUNDARY


def test_trained_and_reason_must_agree():
    with pytest.raises(ArgumentError, match="reason must be SCORED exactly where trained is true"):
        Example(ids=np.array([1], np.int32), trained=np.array([True]), reason=np.array([Reason.USER], np.uint8))


def test_arrays_must_have_one_length():
    with pytest.raises(ArgumentError, match=r"trained must have the ids' shape \(1,\), got \(2,\)"):
        Example(ids=np.array([1], np.int32), trained=np.array([True] * 2), reason=np.array([0, 0], np.uint8))
