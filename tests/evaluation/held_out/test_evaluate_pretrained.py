"""A pretrained model is evaluated as this library's decoder is: every held-out token once, whatever shares its row."""

import pytest
import torch
from tests.evaluation.held_out.test_evaluate import LENGTH, Held, examples
from tests.models.transformers.causal_lms.build import build

from lmhead.evaluation.held_out.evaluate import evaluate_held_out, seconds_per_position
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.packing.packed_rows import pack
from lmhead.models.transformers.pretrained_causal_lm import PretrainedCausalLM


@pytest.fixture
def model() -> PretrainedCausalLM:
    return PretrainedCausalLM(build("gemma2", sliding_window=4))


def test_the_figures_are_those_of_each_text_alone(model):
    total, count, hits = 0.0, 0, 0
    for example in examples():
        targets = example.targets()
        with torch.no_grad():
            logits = model.base.eval()(input_ids=torch.from_numpy(example.ids)[None].long()).logits[0]
        nll = torch.nn.functional.cross_entropy(logits, targets.ids, reduction="sum")
        total, count = total + float(nll), count + targets.count
        hits += int((logits.argmax(-1) == targets.ids).sum())
    rows = pack(examples(), length=LENGTH, overflow="drop")
    given: list[PackedBatch] = [rows.take(0, rows.rows_per_epoch)]
    found = evaluate_held_out(model, Held(given), device=torch.device("cpu"), dtype=torch.float32)
    assert found.tokens == count
    assert found.nll == pytest.approx(total / count, rel=1e-5)
    assert found.accuracy == pytest.approx(hits / count)
    assert not model.training


def test_an_evaluation_can_be_timed(model):
    rows = pack(examples(), length=LENGTH, overflow="drop")
    held = Held([rows.take(0, 1)] * 2)
    assert seconds_per_position(model, held, device=torch.device("cpu"), dtype=torch.float32) > 0
