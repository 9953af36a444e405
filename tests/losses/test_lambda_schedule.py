"""Lambda over a run, and lambda of each depth."""

import math

import pytest

from lmhead.errors import ArgumentError, ArgumentTypeError
from lmhead.losses.depth_weighting import DepthWeighting
from lmhead.losses.lambda_schedule import LambdaSchedule


def test_lambda_changes_once_the_share_is_behind():
    schedule = LambdaSchedule(first=0.3, then=0.1, after=0.5)
    assert [schedule.at(share) for share in (0.0, 0.49999, 0.5, 1.0, 1.2)] == [0.3, 0.3, 0.1, 0.1, 0.1]


def test_by_default_it_is_deepseeks():
    assert [LambdaSchedule().at(tokens / 14.8) for tokens in (0, 9.9, 10.1, 14.8)] == [0.3, 0.3, 0.1, 0.1]


def test_each_depth_may_have_its_own():
    schedule = LambdaSchedule(first=[0.5, 0.2], then=0.1, after=0.5)
    assert schedule.at(0.0) == (0.5, 0.2)
    assert DepthWeighting(mtp_lambda=schedule.at(0.0)).coefficients(2) == [1.0, 0.5, 0.2]
    assert DepthWeighting(mtp_lambda=schedule.at(0.9)).coefficients(2) == [1.0, 0.05, 0.05]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_numbers_for_each_depth_are_not_divided(reduction):
    weighting = DepthWeighting(mtp_lambda=(0.5, 0.2), mtp_reduction=reduction)
    assert weighting.coefficients(2) == [1.0, 0.5, 0.2]
    assert weighting.coefficients(0) == [1.0]  # a head in eval mode


def test_a_weighting_of_a_list_is_hashable_and_equal_to_that_of_a_tuple():
    assert hash(DepthWeighting(mtp_lambda=[0.5])) == hash(DepthWeighting(mtp_lambda=(0.5,)))


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"first": -0.1}, "first must be finite and >= 0, got -0.1"),
        ({"then": math.nan}, "then must be finite and >= 0, got nan"),
        ({"first": [0.1, math.inf]}, r"first\[1\] must be finite and >= 0, got inf"),
        ({"first": []}, "first must be a number, or one number a depth"),
        ({"first": [0.1, 0.2], "then": [0.1]}, "then must have 2 numbers, one a depth, as first has, got 1"),
        ({"after": 0.0}, r"after must be in \(0, 1\]"),
        ({"after": 1.5}, r"after must be in \(0, 1\]"),
    ],
)
def test_what_is_no_schedule_is_refused(options, rule):
    with pytest.raises(ArgumentError, match=rule):
        LambdaSchedule(**options)


def test_a_share_below_0_is_refused():
    with pytest.raises(ArgumentError, match="share must be >= 0"):
        LambdaSchedule().at(-0.1)


def test_words_are_refused():
    with pytest.raises(ArgumentTypeError, match="first must be a number"):
        LambdaSchedule(first=None)
