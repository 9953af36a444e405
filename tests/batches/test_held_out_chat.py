"""What an evaluation of conversations counts."""

import torch

from lmhead.batches.chat import HeldOutChat, answers_of
from lmhead.data.labelling.outcome import Labelled
from lmhead.data.rows.row import Place
from lmhead.data.tokenizer.train_tokenizer import train_tokenizer
from lmhead.labels.example import Example


def labelled(ids: list[int], trained: list[bool]) -> Labelled:
    return Labelled(place=Place(source="a", number=1), example=Example.of(ids, trained=trained))


def test_a_first_token_is_no_answer_for_nothing_predicts_it() -> None:
    whole = Example.of([65, 66, 67, 68], trained=[True, True, False, True])
    assert answers_of(whole) == [[66], [68]]
    assert int(whole.targets().count) == 2


def test_tokens_bytes_and_targets_of_an_evaluation_agree() -> None:
    tokenizer = train_tokenizer(["ab"], 258)
    a, b = (tokenizer.token_to_id(letter) for letter in "ab")
    rows = [
        labelled([a, b], [True, True]),
        labelled([a, b, a, 0], [False, True, True, True]),
        labelled([a, a, b, b, a], [False, True, False, True, True]),
    ]
    held_out = HeldOutChat(rows, tokenizer, length=8)
    batches = list(held_out.batches())
    assert held_out.scored == sum(batch.targets.count for batch in batches) == 7
    assert (held_out.tokens, held_out.bytes) == (11, 6)  # the end of text is scored, and no text
    targets = torch.cat([batch.targets.ids.flatten() for batch in batches])
    assert sorted(targets[targets != -100].tolist()) == sorted([b, b, a, 0, a, b, a])
