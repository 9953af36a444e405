"""The benchmark of looking at tokens: what is measured against an evaluation looks at the same tokens."""

import numpy as np
import torch

from benchmarks import inspecting
from lmhead.evaluation.held_out.evaluate import evaluate_held_out
from lmhead.evaluation.token_scores import token_scores
from lmhead.models.config import GPTConfig
from lmhead.models.gpt import GPT

SETTING = inspecting.Setting(
    model=GPTConfig(vocab_size=300, embed_dim=16, num_heads=1, num_layers=1, max_seq_len=24), rows=40, rounds=1
)


def test_scores_are_of_the_tokens_that_the_evaluation_scores():
    cpu, model = torch.device("cpu"), GPT.from_config(SETTING.model)
    data = inspecting.held_out(SETTING, scored=1.0, seed=0)
    result = evaluate_held_out(model, data, device=cpu, dtype=torch.float32)
    scores = [each for batch in data.batches() for each in token_scores(model, batch, device=cpu, dtype=torch.float32)]
    nll = np.concatenate([each.nll for each in scores])
    assert int(np.isfinite(nll).sum()) == result.tokens == 40 * 23
    assert abs(np.nanmean(nll) / result.nll - 1) < 1e-6


def test_each_comparison_has_a_row_and_a_goal():
    report = inspecting.compare(SETTING)
    assert len(report.rows) == 7
    assert len(report.goals) == 5
