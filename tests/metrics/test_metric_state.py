"""A metric's state: what is restored is the same metric, states of ranks add up, different options are refused."""

import json
import math
import pickle

import pytest
import torch

from lmhead.errors import ArgumentError, ArgumentTypeError
from lmhead.labels.targets import shift_labels
from lmhead.metrics.accuracy import TokenAccuracyMetric
from lmhead.metrics.bits_per_byte import BitsPerByteMetric
from lmhead.metrics.perplexity import PerplexityMetric
from lmhead.ops.linear_cross_entropy import linear_cross_entropy

OF_TOKENS = [PerplexityMetric, TokenAccuracyMetric]


def drawn(seed=0, B=2, T=6, V=9):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, V, (B, T), generator=generator)
    ids[0, 3:] = 0  # padding, where 0 is what is ignored
    return torch.randn(B, T, V, generator=generator), ids


@pytest.mark.parametrize("options", [{}, {"ignore_index": 0}, {"ignore_index": 0, "ids": "targets"}, {"ids": "labels"}])
@pytest.mark.parametrize("kind", OF_TOKENS)
def test_a_metric_that_was_saved_in_the_middle_goes_on_as_it_was(kind, options):
    straight = kind(**options)
    straight.update(*drawn()[:1], targets=drawn()[1])
    restored = kind.from_state(json.loads(json.dumps(straight.state())))
    assert (restored.ignore_index, restored.ids) == (straight.ignore_index, straight.ids)
    for metric in (straight, restored):
        metric.update(drawn(1)[0], targets=drawn(1)[1])
    assert restored.state() == straight.state()
    assert restored.compute() == straight.compute()
    assert pickle.loads(pickle.dumps(straight)).state() == straight.state()


@pytest.mark.parametrize("options", [{}, {"ignore_index": 0, "ids": "targets"}, {"ignore_index": -1, "ids": "labels"}])
@pytest.mark.parametrize("kind", OF_TOKENS)
def test_states_of_ranks_add_up_key_by_key(kind, options):
    ranks, whole = [kind(**options) for _ in range(3)], kind(**options)
    for seed, rank in enumerate(ranks):
        for metric in (rank, whole):
            metric.update(drawn(seed)[0], targets=drawn(seed)[1])
    states = [rank.state() for rank in ranks]
    summed = {key: sum(state[key] for state in states) for key in states[0]}
    reduced = torch.tensor([list(state.values()) for state in states], dtype=torch.float64).sum(0).tolist()
    for state in (summed, dict(zip(states[0], reduced, strict=True))):
        merged = kind.from_state(state)
        assert (merged.tokens, merged.ignore_index, merged.ids) == (whole.tokens, whole.ignore_index, whole.ids)
        assert merged.compute() == pytest.approx(whole.compute(), rel=1e-12)
        merged.update(drawn(9)[0], targets=drawn(9)[1])
        again = kind.from_state(merged.state())
        assert again.state() == merged.state()


@pytest.mark.parametrize("others", [(-100, 0), (0, 0, 1), (-100, -100, -99), (5, -5)])
@pytest.mark.parametrize("kind", OF_TOKENS)
def test_metrics_that_ignore_different_ids_are_not_merged(kind, others):
    metrics = [kind(ignore_index=other) for other in others]
    states = [metric.state() for metric in metrics]
    with pytest.raises(ArgumentError, match=r"one ignore_index, got a sum over .* with different ones"):
        kind.from_state({key: sum(state[key] for state in states) for key in states[0]})
    with pytest.raises(ArgumentError, match=f"other must have the ignore_index {others[0]}, got {others[-1]}"):
        metrics[0].merge(metrics[-1])


@pytest.mark.parametrize("kind", [*OF_TOKENS, BitsPerByteMetric])
def test_a_state_of_something_else_is_refused(kind):
    for state, error in (({}, ArgumentError), ({"hits": 1, "tokens": 2}, ArgumentError), (None, ArgumentTypeError)):
        with pytest.raises(error, match="state must"):
            kind.from_state(state)
    with pytest.raises(ArgumentTypeError, match=f"other must be a {kind.__name__}, got dict"):
        kind().merge(kind().state())


def test_bits_per_byte_too():
    straight = BitsPerByteMetric()
    straight.update(3.0, num_bytes=5)
    restored = BitsPerByteMetric.from_state(json.loads(json.dumps(straight.state())))
    for metric in (straight, restored):
        metric.update(4.0, num_bytes=6)
    assert restored.compute() == straight.compute() == 7 / 11 / math.log(2)
    state = {key: value + value for key, value in straight.state().items()}
    assert BitsPerByteMetric.from_state(state).compute() == straight.compute()


# --- metrics are called -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OF_TOKENS)
def test_a_call_adds_and_gives_the_value_of_its_batch(kind):
    called, updated = kind(), kind()
    for seed in range(3):
        logits, ids = drawn(seed)
        alone = kind()
        alone.update(logits, targets=ids)
        updated.update(logits, targets=ids)
        assert called(logits, targets=ids) == alone.compute()
    assert called.state() == updated.state()
    _, statistics = linear_cross_entropy(logits, torch.eye(9), ids, return_stats=True)
    assert called(statistics) == pytest.approx(alone.compute())


@pytest.mark.parametrize("kind", OF_TOKENS)
def test_a_batch_with_nothing_to_score_has_no_value_and_changes_nothing(kind):
    metric = kind()
    metric.update(drawn()[0], labels=drawn()[1])
    before = metric.state()
    assert math.isnan(metric(drawn()[0], labels=torch.full((2, 6), -100)))
    assert metric.state() == before


def test_bits_per_byte_are_called_with_the_size_of_their_text():
    metric = BitsPerByteMetric()
    assert metric(8 * math.log(2), num_bytes=4) == 2.0
    assert metric(torch.tensor([4 * math.log(2)]), num_bytes=4) == pytest.approx(1.0)
    assert math.isnan(metric(0.0, num_bytes=0))
    assert metric.compute() == pytest.approx(1.5)


@pytest.mark.parametrize("kind", OF_TOKENS)
def test_ids_come_by_position_where_it_was_said_what_they_are(kind):
    logits, ids = drawn()
    by_word = {"labels": kind()(logits, labels=ids), "targets": kind()(logits, targets=ids)}
    assert by_word["labels"] != by_word["targets"]
    for word, value in by_word.items():
        assert kind(ids=word)(logits, ids) == value
        assert kind(ids=word)(logits, labels=ids) == by_word["labels"]  # a keyword says it too
        metric = kind(ids=word)
        metric.update(logits, ids)
        assert metric.compute() == value
    assert kind(ids="targets")(logits, shift_labels(ids)) == by_word["labels"]


@pytest.mark.parametrize("kind", OF_TOKENS)
def test_else_they_are_refused_with_the_way_on(kind):
    logits, ids = drawn()
    rule = (
        rf'labels=\.\.\. or targets=\.\.\., got them by position.*{kind.__name__}\(\.\.\., ids="labels"\) or "targets"'
    )
    for call in (kind(), kind().update):
        with pytest.raises(ArgumentTypeError, match=rule):
            call(logits, ids)
    with pytest.raises(ArgumentTypeError, match="targets must be all that follows by position, got 2"):
        kind(ids="targets")(logits, ids, ids)
    with pytest.raises(ArgumentError, match="exactly one of labels and targets and targets by position"):
        kind(ids="targets")(logits, ids, labels=ids)
    with pytest.raises(ArgumentError, match="ids must be labels or targets, got 'shifted'"):
        kind(ids="shifted")
