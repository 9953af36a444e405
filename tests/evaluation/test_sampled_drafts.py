"""How often sampling keeps drafts: from full distributions, and as often as decoding does."""

import pytest
import torch
from tests.evaluation.drafting_models import drafting_model, noisy_cycles

from lmhead.evaluation.sampled_drafts import sampled_acceptance
from lmhead.generation.speculative import speculate
from lmhead.heads.parallel_multi_token import MultiTokenPredictionHead
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.targets import Targets


def batch_of(rows: torch.Tensor, document: torch.Tensor) -> PackedBatch:
    return PackedBatch(ids=rows, targets=Targets.from_labels(rows, document=document), sources=((0, 1),) * len(rows))


@pytest.mark.parametrize("kind", ["sequential", "recurrent", "parallel"])
def test_it_is_what_two_distributions_have_in_common(kind):
    model = drafting_model(kind=kind, steps=12).eval()
    rows = noisy_cycles(3, 14)
    batch = batch_of(rows, torch.tensor([[0] * 9 + [1] * 3 + [-1] * 2] * 3))
    with torch.no_grad():
        trunk = model.main.trunk(rows, document=batch.document)
        p = model.lm_head(trunk.hidden).softmax(-1)
        if isinstance(model.mtp, MultiTokenPredictionHead):
            q = [head(trunk.hidden).softmax(-1) for head in model.mtp.heads]
        else:
            q = [model.lm_head(states).softmax(-1) for states in model.mtp.behind(trunk)]
    first, second = [], []
    for row in range(3):
        for i in range(7):  # of the second document no position has all depths
            if i + 3 < 9:
                first.append(float(torch.minimum(q[0][row, i], p[row, i + 1]).sum()))
                second.append(first[-1] * float(torch.minimum(q[1][row, i], p[row, i + 2]).sum()))
    one, two = sampled_acceptance(model, [batch_of(each[None], batch.document[:1]) for each in rows])
    assert one == pytest.approx(sum(first) / len(first), rel=1e-6)
    assert two == pytest.approx(sum(second) / sum(first), rel=1e-6)


def test_decoding_keeps_as_many_on_text_that_the_model_samples():
    model = drafting_model(depth=1, steps=12)
    prompts = [[token] for token in range(12)] * 8
    drawn = speculate(model, prompts, max_new_tokens=24, temperature=1.0, seed=0)
    rows = torch.tensor([[*prompt, *new] for prompt, new in zip(prompts, drawn.tokens, strict=True)])
    (expected,) = sampled_acceptance(model, [batch_of(rows, torch.zeros_like(rows))])
    assert drawn.counts.acceptance == [pytest.approx(expected, abs=0.03)]  # three times what 1300 draws are off by
    assert 0.2 < expected < 0.95


def test_rows_without_a_place_for_all_depths_have_none():
    model = drafting_model(depth=3)
    rows = noisy_cycles(2, 3)
    assert sampled_acceptance(model, [batch_of(rows, torch.zeros_like(rows))]) is None
    rows = noisy_cycles(2, 6)
    assert sampled_acceptance(model, [batch_of(rows, torch.tensor([[0, 0, 0, 1, 1, 1]] * 2))]) is None
