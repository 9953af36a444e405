"""Drafts simulated over a text are those of decoding where greedy decoding wrote it."""

import pytest
import torch
from tests.evaluation.held_out.drafting_models import V, decoded, drafting_model, noisy_cycles

from lmhead.errors import ArgumentError, ArgumentTypeError
from lmhead.evaluation.held_out.simulated_drafts import simulate_drafts
from lmhead.generation.speculative import speculate
from lmhead.models.gpt import GPT

PROMPTS = ([3], [5, 0, 7, 7, 2], [9, 9, 9])


@pytest.mark.parametrize("steps", [0, 12])
@pytest.mark.parametrize(("kind", "depth"), [("sequential", 1), ("sequential", 2), ("recurrent", 3), ("parallel", 2)])
def test_over_a_text_that_greedy_decoding_wrote_all_is_counted_as_in_decoding(kind, depth, steps):
    model = drafting_model(kind=kind, depth=depth, steps=steps)
    written = [decoded(model, prompt, 16) for prompt in PROMPTS]
    simulated = simulate_drafts(model, [ids for ids, _ in written], begin=list(map(len, PROMPTS)))
    assert simulated.forwards == sum(counts.forwards for _, counts in written)
    assert simulated.tokens == 16 * len(PROMPTS)
    assert simulated.drafted == [sum(each) for each in zip(*(counts.drafted for _, counts in written), strict=True)]
    assert simulated.accepted == [sum(each) for each in zip(*(counts.accepted for _, counts in written), strict=True)]
    if steps:
        assert 1.2 < simulated.accepted_length < 1 + depth
    decoding = speculate(model, PROMPTS, max_new_tokens=16, temperature=0)
    assert [[*prompt, *new] for prompt, new in zip(PROMPTS, decoding.tokens, strict=True)] == [
        ids for ids, _ in written
    ]
    assert decoding.counts == simulated


def test_a_row_alone_is_what_it_is_among_longer_ones():
    model = drafting_model(steps=20)
    rows = [row[:length] for row, length in zip(noisy_cycles(4, 40).tolist(), (40, 1, 2, 17), strict=True)]
    together = simulate_drafts(model, rows)
    alone = [simulate_drafts(model, [row]) for row in rows]
    assert together.forwards == sum(each.forwards for each in alone)
    assert together.accepted == [sum(each.accepted[k] for each in alone) for k in range(2)]
    assert together.tokens == sum(len(row) - 1 for row in rows)


def test_tensors_are_rows_too_and_the_model_is_left_as_it_was():
    model = drafting_model(steps=20).train()
    rows = noisy_cycles(2, 30)
    assert simulate_drafts(model, list(rows)) == simulate_drafts(model, rows.tolist())
    assert model.training


def test_a_prompt_alone_is_not_read():
    nothing = simulate_drafts(drafting_model(), [[1, 2, 3]], begin=3)
    assert (nothing.tokens, nothing.forwards, nothing.drafted) == (0, 0, [0, 0])


@pytest.mark.parametrize(
    ("rows", "begin", "said"),
    [
        ([[1, 2]], 0, "begin must be >= 1, got 0"),
        ([[1, 2]], 3, "begin must be at most 2, the tokens of its row, got 3"),
        ([[1, 2]], [1, 1], "begin must be one number, or 1, one a row, got 2"),
        ([[1] * 49], 1, "rows must have at most 48 tokens, got 49"),
        ([], 1, "rows must hold at least one row"),
        ([[1], []], 1, "ids must hold at least one token"),
        ([[1, 12]], 1, r"ids must be in \[0, 12\), got \[12\]"),
    ],
)
def test_rows_that_cannot_be_are_refused(rows, begin, said):
    with pytest.raises(ArgumentError, match=f"^{said}"):
        simulate_drafts(drafting_model(), rows, begin=begin)


def test_a_model_without_multi_token_prediction_is_refused():
    with pytest.raises(ArgumentTypeError, match=r"^model must be a MultiTokenModel"):
        simulate_drafts(GPT(vocab_size=V, embed_dim=4, num_heads=2, num_layers=1), [[1, 2]])


def test_the_draws_of_others_are_not_disturbed():
    model, rows = drafting_model(), noisy_cycles(1, 9).tolist()
    before = torch.get_rng_state()
    simulate_drafts(model, rows)
    assert torch.equal(torch.get_rng_state(), before)
