"""Scores of documents: those of float64 on full logits of each window, whatever shares a batch or pads a row."""

import numpy as np
import pytest
import torch

import lmhead
from lmhead.data.rows.row import Place
from lmhead.errors import ArgumentError
from lmhead.evaluation.documents.document import EvaluationDocument
from lmhead.evaluation.scores.document_scores import document_scores
from lmhead.evaluation.scores.windows import Windows
from lmhead.labels.example import Example

V, CONTEXT, CPU = 40, 8, torch.device("cpu")


def model():
    torch.manual_seed(0)
    return lmhead.GPT(V, 16, 2, 2, CONTEXT).eval()


def document(number, length, rng):
    example = Example.of(rng.integers(0, V, length).tolist(), trained=(rng.random(length) < 0.7).tolist())
    return EvaluationDocument(place=Place(source="a", number=number), source="a", example=example)


def documents(seed=0, count=12):
    rng = np.random.default_rng(seed)
    return [document(number, int(rng.integers(1, 30)), rng) for number in range(count)]


def exact(judge, of, windows):
    """{token: (nll, entropy, confidence, rank, hit)} in float64, a window at a time, over full logits."""
    found = {}
    for window in windows.over(len(of) - 1):
        ids = torch.tensor(of.example.ids[window.start : window.stop].astype(np.int64))[None]
        logits = (judge.double().hidden(ids) @ judge.lm_head.weight.double().T)[0]
        logprobs = logits.log_softmax(-1)
        for place in range(window.keep - window.start, len(window)):
            t = window.start + place + 1
            if of.scored[t]:
                row, target = logprobs[place], int(of.example.ids[t])
                entropy = -(row.exp() * row).sum()
                rank = int((row > row[target]).sum())
                found[t] = (-row[target].item(), entropy.item(), row.max().item(), rank, rank == 0)
    return found


@pytest.mark.parametrize("stride", [1, 3, 8])
@pytest.mark.parametrize("tokens", [8, 64])
def test_scores_are_those_of_float64(stride, tokens):
    windows, given = Windows(window=CONTEXT, stride=stride), documents()
    made = list(document_scores(model(), given, windows, device=CPU, dtype=torch.float32, tokens=tokens))
    assert [each.document for each in made] == given
    for scores, of in zip(made, given, strict=True):
        wanted = exact(model(), of, windows)
        assert np.flatnonzero(~np.isnan(scores.nll)).tolist() == sorted(wanted) == np.flatnonzero(of.scored).tolist()
        for t, (nll, entropy, confidence, rank, hit) in wanted.items():
            assert scores.nll[t] == pytest.approx(nll, rel=1e-5, abs=1e-6)
            assert scores.entropy[t] == pytest.approx(entropy, rel=1e-4, abs=1e-5)
            assert scores.confidence[t] == pytest.approx(confidence, rel=1e-4, abs=1e-6)
            assert (scores.rank[t], scores.hit[t]) == (rank, hit)


@pytest.mark.parametrize(("window", "stride"), [(0, 1), (8, 0), (8, 9), (8, -1)])
def test_windows_that_would_skip_tokens_or_never_end_are_refused(window, stride):
    with pytest.raises(ArgumentError, match="window" if window == 0 else "stride"):
        Windows(window=window, stride=stride)


def test_each_position_is_kept_once_and_the_last_window_is_full():
    for count in range(1, 40):
        for window in range(1, 12):
            for stride in range(1, window + 1):
                made = list(Windows(window=window, stride=stride).over(count))
                kept = [place for each in made for place in range(each.keep, each.stop)]
                assert kept == list(range(count))
                assert all(len(each) == min(window, count) for each in made)
