"""The benchmark of evaluations: what is timed beside it reads the same tokens, and gives the same losses."""

import dataclasses

import pytest

from benchmarks import evaluating
from lmhead.evaluation.scores.window_batches import window_batches
from lmhead.evaluation.scores.windows import Windows

SETTING = evaluating.Setting(vocab_size=70, embed_dim=64, window=12, batch=40, tokens=120)


@pytest.mark.parametrize("model", ["GPT", "Llama"])
@pytest.mark.parametrize("long", [True, False])
def test_both_ways_score_the_same_tokens(model, long):
    setting = dataclasses.replace(SETTING, model=model, long=long)
    scorer, given = evaluating.made(setting), evaluating.documents(setting)
    windows = Windows(window=12, stride=12)
    batches = list(window_batches(given, windows, tokens=40))
    totals = evaluating.evaluated(setting, scorer, given, windows)
    assert totals.tokens == 120 == sum(int((each.batch.targets.ids >= 0).sum()) for each in batches)
    for what in ("losses", "statistics"):
        assert totals.nll == pytest.approx(evaluating.plain(setting, scorer, batches, what), rel=1e-6)
    assert [case.name for case in evaluating.cases(setting, scorer)] == ["lmhead", *evaluating._PEERS]


def test_twice_the_tokens_are_twice_the_tokens():
    once, twice = (sum(len(each) - 1 for each in evaluating.documents(SETTING, times=times)) for times in (1, 2))
    assert (once, twice) == (120, 240)
