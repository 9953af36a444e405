"""What a model writes behind held-out beginnings: decoding's text, and as much as is held out there."""

import pytest
import torch
from tests.evaluation.held_out.drafting_models import drafting_model, noisy_cycles
from tests.evaluation.held_out.held_out_data import chat, model, text
from tests.evaluation.held_out.test_evaluate import Held

from lmhead.batches.contract import HeldOut, Part
from lmhead.evaluation.held_out.decoded_drafts import decoded_drafts
from lmhead.evaluation.held_out.simulated_drafts import simulate_drafts
from lmhead.generation.sampling import sample
from lmhead.generation.speculative import speculate
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.targets import Targets
from lmhead.models.multi_token.multi_token_model import MultiTokenModel


def beginnings(held_out: HeldOut) -> list[tuple[list[int], int]]:
    """What stands before the first scored token of each row, and how many are scored on end there."""
    found = []
    for batch in held_out.batches(Part()):
        for row in range(len(batch.ids)):
            scored = batch.targets.scored[row].tolist()
            first = scored.index(True)
            count = 0
            while first + count < len(scored) and scored[first + count]:
                count += 1
            found.append((batch.ids[row, : first + 1].tolist(), count))
    return found


def with_depths(depth: int = 2) -> MultiTokenModel:
    main = model()
    torch.manual_seed(1)
    return MultiTokenModel.behind(main, depth=depth)


@pytest.mark.parametrize("held_out", [text, chat])
def test_greedy_it_is_what_stands_behind_the_beginnings_and_as_long_as_that(held_out):
    judge, rows, begins, heard = with_depths(), [], [], []
    for prompt, count in beginnings(held_out()):
        rows.append(prompt + list(sample(judge, prompt, max_new_tokens=count, temperature=0)))
        begins.append(len(prompt))
    counts = decoded_drafts(judge, held_out(), temperature=0.0, texts=1000, each=lambda: heard.append(1))
    assert counts == simulate_drafts(judge, rows, begin=begins)
    assert 1 < len(heard) <= len(rows)
    assert len(rows) > 10


def test_its_length_is_that_of_decoding():
    judge = drafting_model(steps=6).eval()
    rows = noisy_cycles(64, 40)
    labels = rows.clone()
    labels[:, :8] = -100
    given = PackedBatch(ids=rows, targets=Targets.from_labels(labels), sources=((0,),) * 64)
    for temperature, off in ((0.0, 1e-9), (1.0, 0.05)):  # others are drawn: 64 texts of 32 tokens
        found = decoded_drafts(judge, Held([given]), temperature=temperature, texts=64)  # type: ignore[arg-type]
        prompts = rows[:, :8].tolist()
        decoding = speculate(judge, prompts, max_new_tokens=32, temperature=temperature, seed=1).counts
        assert found.accepted_length == pytest.approx(decoding.accepted_length, rel=off)
        assert 2 < found.accepted_length < 2.8


def test_it_is_the_same_every_time_and_leaves_the_draws_of_others_alone():
    judge = with_depths()
    before = torch.get_rng_state()
    first, second = (decoded_drafts(judge, text(), temperature=1.0, texts=4) for _ in range(2))
    assert first == second
    assert torch.equal(torch.get_rng_state(), before)


def test_it_takes_a_bounded_number_of_texts_spread_over_the_data():
    made = decoded_drafts(with_depths(1), text(), temperature=0.0, texts=4)
    assert 0 < made.tokens <= 4 * 64


def test_it_never_writes_beyond_the_context(monkeypatch):
    judge = with_depths(1)
    monkeypatch.setattr(type(judge), "max_seq_len", 15)
    assert decoded_drafts(judge, text(), temperature=0.0, texts=4).tokens <= 4 * 14


def test_without_a_row_to_go_on_from_nothing_is_counted(monkeypatch):
    judge = with_depths(1)
    monkeypatch.setattr(type(judge), "max_seq_len", 1)
    assert decoded_drafts(judge, text(), temperature=0.0).forwards == 0
