"""What a model writes behind held-out beginnings: greedy decoding's text, and as much as is held out there."""

import pytest
import torch
from tests.evaluation.held_out_data import chat, model, text

from lmhead.batches.contract import HeldOut, Part
from lmhead.evaluation.simulated_drafts import simulate_drafts
from lmhead.evaluation.written_text import drafts_of_written_text
from lmhead.generation.sampling import sample
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


@pytest.mark.parametrize("held_out", [text, chat])
def test_it_is_greedy_text_behind_what_stands_before_the_scored_tokens(held_out):
    torch.manual_seed(1)
    judge = MultiTokenModel.behind(model(), depth=2)
    rows, begins = [], []
    for prompt, count in beginnings(held_out()):
        rows.append(prompt + list(sample(judge, prompt, max_new_tokens=count, temperature=0)))
        begins.append(len(prompt))
    heard = []
    assert drafts_of_written_text(judge, held_out(), texts=1000, each=lambda: heard.append(1)) == simulate_drafts(
        judge, rows, begin=begins
    )
    assert len(heard) == len(rows) > 10


def test_it_takes_a_bounded_number_of_texts_spread_over_the_data():
    heard = []
    made = drafts_of_written_text(
        MultiTokenModel.behind(model(), depth=1), text(), texts=4, each=lambda: heard.append(1)
    )
    assert 2 <= len(heard) <= 4
    assert made.tokens <= 4 * 64


def test_it_never_writes_beyond_the_context(monkeypatch):
    judge = MultiTokenModel.behind(model(), depth=1)
    monkeypatch.setattr(type(judge), "max_seq_len", 15)
    assert drafts_of_written_text(judge, text(), texts=4).tokens <= 4 * 14
