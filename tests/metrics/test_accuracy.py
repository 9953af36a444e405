"""Token accuracy: integer counts over scored tokens."""

import pytest
import torch

from lmhead.errors import ArgumentError
from lmhead.metrics.accuracy import TokenAccuracyMetric


def measured(logits, **ids):
    metric = TokenAccuracyMetric()
    metric.update(logits, **ids)
    return metric


def test_hits_over_scored_tokens():
    logits = torch.eye(4)[[0, 1, 2, 3]]
    metric = measured(logits, targets=torch.tensor([0, 1, 0, -100]))
    assert (metric.hits, metric.tokens) == (2, 3)
    assert metric.compute() == 2 / 3


def test_labels_are_shifted():
    labels = torch.tensor([[3, 1, 2]])
    copies = torch.eye(4)[labels]  # says at t what stands at t
    assert measured(copies, labels=labels).compute() == 0.0
    predicts = torch.eye(4)[torch.tensor([[1, 2, 0]])]
    assert measured(predicts, labels=labels).compute() == 1.0


def test_of_equal_logits_the_first_is_meant():
    metric = measured(torch.zeros(2, 3), targets=torch.tensor([0, 2]))
    assert (metric.hits, metric.tokens) == (1, 2)


def test_ranks_merge():
    one, other = measured(torch.eye(3), targets=torch.arange(3)), measured(torch.eye(3), targets=torch.zeros(3).long())
    one.merge(TokenAccuracyMetric.from_state(other.state()))
    assert (one.hits, one.tokens) == (4, 6)


def test_accuracy_of_nothing_is_not_zero():
    metric = measured(torch.eye(3), targets=torch.full((3,), -100))
    with pytest.raises(ArgumentError, match="no token scored"):
        metric.compute()


def test_reset_forgets():
    metric = measured(torch.eye(3), targets=torch.arange(3))
    metric.reset()
    assert (metric.hits, metric.tokens) == (0, 0)
