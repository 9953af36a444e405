"""The learning loop: the five steps, with the numbers of a real step of gradient descent, which the model keeps not."""

import pytest
import torch
import torch.nn.functional as F

from lmhead.errors import ArgumentError, ArgumentTypeError, NonFiniteError
from lmhead.figures.training_step import learning_loop
from lmhead.models.gpt import GPT

TOKENS = ["The", " capital", " is", " Paris", "."]
IDS = torch.tensor([0, 1, 2, 3])


def model(**options):
    torch.manual_seed(0)
    return GPT(5, embed_dim=16, num_heads=2, num_layers=1, **{"init": "gpt2", **options})


def test_s1_there_are_five_steps(words):
    said = words(learning_loop(model(), IDS, tokens=TOKENS))
    steps = ["take the ids", "predict the next", "compare", "compute the loss", "update"]
    assert [text for text in said if text in steps] == steps
    assert set("12345") <= set(said)  # of which 4 and 5 are no ids of the row


def test_the_numbers_are_those_of_a_step_by_hand(words):
    said = words(learning_loop(model(), IDS, tokens=TOKENS, learning_rate=0.2))
    learner = model().eval()
    logits = learner(IDS[None])[0][0, :-1]
    before = F.cross_entropy(logits, IDS[1:], reduction="none")
    before.mean().backward()
    torch.optim.SGD(learner.parameters(), lr=0.2).step()
    after = F.cross_entropy(learner(IDS[None])[0][0, :-1], IDS[1:], reduction="none")
    assert {f"mean {before.mean():.3f}", f"mean {after.mean():.3f}"} <= set(said)
    assert {f"{loss:.2f}" for loss in (*before.tolist(), *after.tolist())} <= set(said)
    probabilities = logits.softmax(-1)
    assert {f"p {p:.2f}" for p in probabilities.amax(-1).tolist()} <= set(said)
    assert {f"p {p:.2f}" for p in probabilities.gather(1, IDS[1:, None])[:, 0].tolist()} <= set(said)
    assert after.mean() < before.mean()


def test_the_model_stays_as_it_is():
    learner = model(dropout=0.5).train()
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    learning_loop(learner, IDS, tokens=TOKENS, learning_rate=1.0)
    assert learner.training
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())
    assert all(parameter.grad is None for parameter in learner.parameters())


def test_frozen_parameters_do_not_move(words):
    frozen = model(tie_weights=False)
    frozen.requires_grad_(False)
    frozen.lm_head.requires_grad_(True)
    means = [text for text in words(learning_loop(frozen, IDS, tokens=TOKENS)) if text.startswith("mean")]
    assert means[0] != means[1]


def test_a_step_that_breaks_the_model_is_told():
    with pytest.raises(
        NonFiniteError, match="the step at a learning rate of 1e\\+30 made a loss that is not finite: lower it"
    ):
        learning_loop(model(), IDS, tokens=TOKENS, learning_rate=1e30)


def test_what_does_not_fit_is_told():
    with pytest.raises(ArgumentError, match="ids must be 2 to 8, to be read, got 1"):
        learning_loop(model(), IDS[:1], tokens=TOKENS)
    with pytest.raises(ArgumentError, match="tokens must be the texts of all 5 ids, got 2 texts"):
        learning_loop(model(), IDS, tokens=TOKENS[:2])
    with pytest.raises(ArgumentTypeError, match="model must be a CausalLM, got Linear"):
        learning_loop(torch.nn.Linear(2, 2), IDS, tokens=TOKENS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": 3}, "tokens must be a list"),
        ({"tokens": TOKENS, "learning_rate": "x"}, "learning_rate must be a num"),
    ],
)
def test_what_is_of_another_kind_is_refused_in_words(options, message):
    with pytest.raises(ArgumentTypeError, match=message):
        learning_loop(model(), IDS, **options)
