"""Scores of documents end to end: those of the run's own evaluation."""

import numpy as np
import pytest
import torch
from tests.evaluation.held_out.held_out_data import V, model
from tests.evaluation.held_out.held_out_data import documents as texts

from lmhead.batches.text import HeldOutText
from lmhead.data.rows.row import Place
from lmhead.evaluation.documents.document import EvaluationDocument
from lmhead.evaluation.held_out.evaluate import evaluate_held_out
from lmhead.evaluation.scores.stream_scores import stream_scores
from lmhead.evaluation.scores.windows import Windows
from lmhead.labels.example import Example
from lmhead.labels.packing.wrapped_rows import DocumentStream

CPU = torch.device("cpu")


def documents(held_out):
    stops = held_out.stream.ends.tolist()
    for number, (start, stop) in enumerate(zip([0, *stops], stops, strict=False)):
        ids = held_out.stream.ids[start:stop].tolist()
        example = Example.of(ids, trained=[False] + [True] * (len(ids) - 1)) if ids else Example.of([], trained=[])
        yield EvaluationDocument(place=Place(source="a", number=number + 1), source="a", example=example)


@pytest.mark.parametrize("seed", range(12))
def test_they_sum_to_the_runs_own_figures(seed):
    draw = np.random.default_rng(seed)
    lengths = draw.integers(1, 120, int(draw.integers(1, 9)))
    stream = DocumentStream.of([draw.integers(0, V, length).tolist() for length in lengths])
    length = int(draw.integers(2, 40))
    held_out = HeldOutText(stream, texts([f"{number}.txt" for number in range(len(lengths))]), length=length)
    judge = model()
    wanted = evaluate_held_out(judge, held_out, device=CPU, dtype=torch.float32)
    windows = Windows(window=held_out.window, stride=held_out.stride)
    made = list(stream_scores(judge, documents(held_out), windows, device=CPU, dtype=torch.float32))
    nll = np.concatenate([each.nll[each.document.scored] for each in made])
    assert (len(nll), held_out.window) == (wanted.tokens, length)
    assert nll.mean() == pytest.approx(wanted.nll, rel=1e-6)
    assert np.concatenate([each.hit for each in made]).sum() == round(wanted.accuracy * wanted.tokens)


def test_no_document_gives_no_scores():
    windows = Windows(window=4, stride=2)
    assert list(stream_scores(model(), [], windows, device=CPU, dtype=torch.float32)) == []
