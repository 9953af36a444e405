"""Perplexity: exp of the global mean of the unsmoothed nll."""

import json
import math

import pytest
import torch
import torch.nn.functional as F

from lmhead.errors import ArgumentError, ArgumentTypeError
from lmhead.labels.targets import Targets, shift_labels
from lmhead.metrics.perplexity import PerplexityMetric
from lmhead.ops.linear_cross_entropy import linear_cross_entropy


def draw(B=4, T=9, V=17, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(V, (B, T), generator=generator)
    labels[0, 3:] = -100
    return 3 * torch.randn(B, T, V, generator=generator), labels


def measured(logits, **ids):
    metric = PerplexityMetric()
    metric.update(logits, **ids)
    return metric


def test_it_is_exp_of_the_mean_over_all_scored_tokens():
    logits, labels = draw()
    exact = F.cross_entropy(logits[:, :-1].reshape(-1, 17).double(), labels[:, 1:].reshape(-1)).exp().item()
    metric = measured(logits, labels=labels)
    assert metric.compute() == pytest.approx(exact, rel=1e-6)
    assert metric.tokens == 3 * 8 + 2


def test_it_does_not_depend_on_the_batch_size():
    logits, labels = draw()
    whole = measured(logits, labels=labels).compute()
    for size in (1, 2, 3):
        parts = PerplexityMetric()
        for x, y in zip(logits.split(size), labels.split(size), strict=True):
            parts.update(x, labels=y)
        assert parts.compute() == pytest.approx(whole, rel=1e-12)
    batches = [measured(x, labels=y).compute() for x, y in zip(logits.split(1), labels.split(1), strict=True)]
    assert abs(sum(batches) / 4 - whole) / whole > 0.05  # the mistake


def test_labels_targets_and_statistics_agree():
    logits, labels = draw()
    _, statistics = linear_cross_entropy(
        logits, torch.eye(17), shift_labels(labels), label_smoothing=0.1, return_stats=True
    )
    values = [
        measured(logits, labels=labels).compute(),
        measured(logits, targets=shift_labels(labels)).compute(),
        measured(logits, targets=Targets.from_labels(labels)).compute(),
        measured(statistics).compute(),  # unsmoothed, though the loss was smoothed
    ]
    assert values == pytest.approx([values[0]] * 4, rel=1e-6)


def test_it_survives_where_probabilities_underflow():
    logits = torch.tensor([[0.0, 95.0, 0.0]])
    assert math.log(measured(logits, targets=torch.tensor([0])).compute()) == pytest.approx(95.0)
    assert measured(20 * logits, targets=torch.tensor([0])).compute() == math.inf


def test_ranks_merge_exactly():
    logits, labels = draw()
    whole = measured(logits, labels=labels)
    ranks = [measured(x, labels=y) for x, y in zip(logits.split(2), labels.split(2), strict=True)]
    restored = PerplexityMetric.from_state(json.loads(json.dumps(ranks[1].state())))
    ranks[0].merge(restored)
    assert ranks[0].tokens == whole.tokens
    assert ranks[0].compute() == pytest.approx(whole.compute(), rel=1e-12)


def test_no_token_scored_is_said_instead_of_a_number():
    metric = measured(torch.zeros(1, 3, 4), labels=torch.full((1, 3), -100))
    assert metric.tokens == 0
    with pytest.raises(ArgumentError, match="no token scored"):
        metric.compute()


def test_reset_forgets():
    metric = measured(*draw()[:1], targets=draw()[1])
    metric.reset()
    assert metric.tokens == 0


def test_ids_by_position_are_refused():
    logits, labels = draw()
    with pytest.raises(ArgumentTypeError, match=r"labels=\.\.\. or targets=\.\.\."):
        PerplexityMetric().update(logits, labels)


def test_ids_beside_statistics_are_refused():
    logits, labels = draw()
    _, statistics = linear_cross_entropy(logits, torch.eye(17), shift_labels(labels), return_stats=True)
    with pytest.raises(ArgumentError, match="beside TokenStatistics"):
        PerplexityMetric().update(statistics, labels=labels)


def test_a_source_of_another_kind_is_refused():
    with pytest.raises(ArgumentTypeError, match="TokenStatistics or logits, got float"):
        PerplexityMetric().update(2.5)
