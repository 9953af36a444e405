"""Exactly one of labels and targets, by keyword."""

import pytest
import torch

from lmhead.errors import ArgumentError, ArgumentTypeError
from lmhead.labels.labels_or_targets import targets_from
from lmhead.labels.targets import Reason, Targets

IDS = torch.tensor([[5, 6, 7]])


def choose(*misplaced, labels=None, targets=None, shape=(1, 3), **options):
    return targets_from(misplaced, labels=labels, targets=targets, of=torch.zeros(*shape, 8), **options)


def test_labels_are_shifted_and_targets_are_not():
    assert choose(labels=IDS).ids.tolist() == [[6, 7, -100]]
    assert choose(targets=IDS).ids.tolist() == [[5, 6, 7]]


def test_targets_may_be_a_targets():
    targets = Targets.from_labels(IDS)
    assert choose(targets=targets) is targets


def test_by_position_is_refused_with_both_words():
    with pytest.raises(ArgumentTypeError, match=r"labels=\.\.\. or targets=\.\.\."):
        choose(IDS)


@pytest.mark.parametrize("both", [True, False])
def test_both_or_neither_is_refused_with_both_words(both):
    ids = IDS if both else None
    with pytest.raises(ArgumentError, match="exactly one of labels and targets"):
        choose(labels=ids, targets=ids)


def test_targets_as_labels_are_refused():
    with pytest.raises(ArgumentTypeError, match=r"give them as targets=\.\.\."):
        choose(labels=Targets.from_labels(IDS))


def test_targets_of_another_offset_are_refused():
    with pytest.raises(ArgumentError, match=r"at\(2\)"):
        choose(targets=Targets.from_labels(IDS).at(2))


def test_document_beside_a_targets_is_refused():
    with pytest.raises(ArgumentError, match="document must not be given"):
        choose(targets=Targets.from_labels(IDS), document=torch.zeros_like(IDS))


def test_one_id_too_few_is_refused_with_the_remedy():
    with pytest.raises(ArgumentError, match=r"labels must have the shape \(1, 3\), got \(1, 2\): the last position"):
        choose(labels=IDS[:, 1:])


def test_token_weight_follows_the_ids_it_comes_with():
    weight = torch.tensor([[1.0, 0.0, 3.0]])
    assert choose(labels=IDS, token_weight=weight).weight.tolist() == [[0.0, 3.0, 0.0]]
    assert choose(targets=IDS, token_weight=weight).weight.tolist() == [[1.0, 0.0, 3.0]]
    assert choose(targets=Targets.from_targets(IDS), token_weight=weight).reason.tolist() == [
        [Reason.SCORED, Reason.ZERO_WEIGHT, Reason.SCORED]
    ]


def test_one_target_without_dimensions():
    assert choose(targets=torch.tensor(3), shape=()).count == 1
