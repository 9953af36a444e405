"""Perturbation: a causal model's triangle is exact, a model that looks ahead is seen, whatever it is made of."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lmhead.errors import ArgumentError, ArgumentTypeError, NonFiniteError
from lmhead.figures.perturbed import perturbation, perturbation_effects
from lmhead.models.gpt import GPT

IDS = torch.tensor([3, 1, 4, 1, 5])


def causal():
    torch.manual_seed(0)
    return GPT(8, embed_dim=16, num_heads=2, num_layers=2).eval()


def looks_ahead(ids):
    """Outputs that know the next token: what a mask that is one off gives."""
    known = torch.nn.functional.one_hot(ids, 8).double()
    return known + known.roll(-1, 1)


def test_a_causal_model_has_a_triangle_whose_other_half_is_exactly_zero():
    effects = perturbation_effects(causal(), IDS)
    assert (effects[np.triu_indices(5, 1)] == 0).all()
    assert (effects[np.tril_indices(5)] > 0).all()


def test_an_effect_is_the_change_of_the_outputs():
    model = causal()
    changed = IDS.clone()
    changed[2] = 1  # the next id of the row that differs
    with torch.no_grad():
        moved = (model(changed[None])[0] - model(IDS[None])[0]).abs().amax(-1)[0]
    np.testing.assert_allclose(perturbation_effects(model, IDS)[:, 2], moved.numpy(), rtol=1e-6)


def test_a_model_that_looks_ahead_is_told(words):
    effects = perturbation_effects(looks_ahead, IDS)
    assert {(t, s) for t, s in zip(*np.nonzero(effects), strict=True) if s > t} == {(t, t + 1) for t in range(4)}
    assert "4 of 10 changes above the diagonal are not 0: this model looks ahead." in words(
        perturbation(looks_ahead, IDS)
    )


def test_a_causal_model_is_told(words):
    said = words(perturbation(causal(), IDS, tokens=list("abcde")))
    assert "Above the diagonal all 10 changes are exactly 0: no output depends on a later token." in said
    assert said.count("0") == 10


@pytest.mark.parametrize(
    "wrapped", [lambda made: made, lambda made: (made, None), lambda made: SimpleNamespace(logits=made)]
)
def test_any_kind_of_answer_is_read(wrapped):
    effects = perturbation_effects(lambda ids: wrapped(looks_ahead(ids)), IDS[None])
    np.testing.assert_array_equal(effects, perturbation_effects(looks_ahead, IDS))


def test_half_precision_is_compared_as_it_is():
    assert perturbation_effects(lambda ids: looks_ahead(ids).bfloat16(), IDS).dtype == np.float64


def test_a_model_that_answers_otherwise_each_time_is_refused():
    torch.manual_seed(0)
    with pytest.raises(ArgumentError, match=r"model must give the same outputs twice, got others: model.eval\(\)"):
        perturbation_effects(GPT(8, embed_dim=16, num_heads=2, num_layers=2, dropout=0.5).train(), IDS)


def test_a_row_of_one_id_cannot_be_changed():
    with pytest.raises(ArgumentError, match="ids must hold two different ids or more, got 3 alone"):
        perturbation_effects(causal(), torch.tensor([3, 3, 3]))


def test_outputs_that_are_not_finite_are_refused():
    with pytest.raises(NonFiniteError, match="NaN or infinite"):
        perturbation_effects(lambda ids: looks_ahead(ids) / 0, IDS)


@pytest.mark.parametrize("ids", [torch.zeros(2, 3, dtype=torch.long), torch.tensor(3)])
def test_one_row_at_a_time(ids):
    with pytest.raises(ArgumentError, match=r"ids must be one row, \[T\] or \[1, T\]"):
        perturbation(causal(), ids)


def test_wrong_kinds_are_told():
    with pytest.raises(ArgumentTypeError, match="ids must be a Tensor, got list"):
        perturbation(causal(), [1, 2])
    with pytest.raises(
        ArgumentTypeError, match=r"model must give a Tensor, a tuple that begins with one, or \.logits, got str"
    ):
        perturbation(lambda ids: "logits", IDS)
    with pytest.raises(ArgumentError, match=r"model must give outputs \[1, 5, ...\], got \[1, 4, 8\]"):
        perturbation(lambda ids: looks_ahead(ids)[:, 1:], IDS)
    with pytest.raises(ArgumentError, match="tokens must be as many as ids, 5, got 1"):
        perturbation(causal(), IDS, tokens=["a"])
