"""Bits per byte of raw UTF-8."""

import math

import pytest
import torch

from lmhead.errors import ArgumentError
from lmhead.metrics.bits_per_byte import BitsPerByteMetric
from lmhead.ops.linear_cross_entropy import linear_cross_entropy


def test_nats_become_bits_over_bytes():
    metric = BitsPerByteMetric()
    metric.update(10 * math.log(2), num_bytes=4)
    metric.update(torch.full((6,), math.log(2)), num_bytes=4)
    assert metric.compute() == pytest.approx(2.0)
    assert metric.num_bytes == 8


def test_statistics_bring_their_nll():
    logits, targets = torch.zeros(3, 4), torch.tensor([1, -100, 2])
    _, statistics = linear_cross_entropy(logits, torch.eye(4), targets, return_stats=True)
    metric = BitsPerByteMetric()
    metric.update(statistics, num_bytes=8)
    assert metric.compute() == pytest.approx(2 * 2 / 8)  # two tokens of two bits


def test_it_does_not_depend_on_the_tokenizer():
    text = "größe"  # 7 bytes, 5 characters
    bytewise, whole = BitsPerByteMetric(), BitsPerByteMetric()
    bytewise.update(torch.full((7,), 2 * math.log(2)), num_bytes=len(text.encode()))
    whole.update(torch.tensor([14 * math.log(2)]), num_bytes=len(text.encode()))
    assert bytewise.compute() == pytest.approx(whole.compute()) == pytest.approx(2.0)


def test_ranks_merge():
    one, other = BitsPerByteMetric(), BitsPerByteMetric()
    one.update(1.0, num_bytes=1)
    other.update(3.0, num_bytes=9)
    one.merge(BitsPerByteMetric.from_state(other.state()))
    assert one.compute() == pytest.approx(0.4 / math.log(2))


def test_no_byte_is_said_instead_of_a_number():
    with pytest.raises(ArgumentError, match="no byte scored"):
        BitsPerByteMetric().compute()


def test_bytes_of_which_nothing_was_scored_are_not_zero_bits():
    logits, targets = torch.zeros(3, 4), torch.full((3,), -100)
    _, statistics = linear_cross_entropy(logits, torch.eye(4), targets, return_stats=True)
    metric = BitsPerByteMetric()
    metric.update(statistics, num_bytes=8)
    with pytest.raises(ArgumentError, match="no token scored"):
        metric.compute()


@pytest.mark.parametrize("num_bytes", [-1, math.inf, math.nan])
def test_impossible_sizes_are_refused(num_bytes):
    with pytest.raises(ArgumentError, match="num_bytes must be finite and >= 0"):
        BitsPerByteMetric().update(1.0, num_bytes=num_bytes)


def test_reset_forgets():
    metric = BitsPerByteMetric()
    metric.update(1.0, num_bytes=1)
    metric.reset()
    assert metric.num_bytes == 0
