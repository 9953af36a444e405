"""Exact token means over parts."""

import pytest
import torch

from lmhead.errors import ArgumentError
from lmhead.labels.targets import Targets
from lmhead.losses.token_mean import TokenMean, depth_weights, scored_weight


def test_the_weight_of_a_window_is_that_of_its_scored_positions():
    window = [
        Targets.from_labels(torch.tensor([[1, 2, 3], [4, 5, -100]])),
        Targets.from_labels(torch.tensor([1, 2]), weight=torch.tensor([7.0, 0.5])),
    ]
    assert scored_weight(window).item() == 3.5
    assert scored_weight(window[0]).item() == 3.0
    assert scored_weight(window).dtype == torch.float64


def test_each_depth_has_its_own_weight():
    window = [Targets.from_labels(torch.arange(5)), Targets.from_labels(torch.arange(2))]
    assert depth_weights(window, mtp_depth=2).tolist() == [5.0, 3.0, 2.0]


def test_an_empty_window_is_refused():
    with pytest.raises(ArgumentError, match="window must hold at least one Targets"):
        scored_weight([])


def test_the_mean_does_not_depend_on_the_cuts():
    values = torch.rand(1000)
    whole, parts, other = TokenMean(), TokenMean(), TokenMean()
    whole.add(values, 1000)
    for index, part in enumerate(values.split([1, 9, 90, 900])):
        (parts if index % 2 else other).add(part, torch.ones_like(part))
    parts.merge(other)
    assert parts.mean == pytest.approx(whole.mean, rel=1e-14)


def test_sums_are_kept_in_float64():
    mean = TokenMean()
    mean.add(2.0**24, 1)
    mean.add(torch.ones(3), 3)  # in float32 each would be lost
    assert mean.total == 2**24 + 3


def test_nothing_scored_has_no_mean():
    with pytest.raises(ArgumentError, match="no token scored"):
        _ = TokenMean().mean


def test_the_state_restores():
    mean = TokenMean(3.0, 2.0)
    assert TokenMean.from_state(mean.state()).mean == 1.5
