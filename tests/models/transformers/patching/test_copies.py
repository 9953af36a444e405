"""Copies of a patched model are patched models of their own; checkpoints know nothing of the patch."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.models.transformers.patching.small_models import assert_same_step, drawn, gemma2, llama, step
from torch import nn

import lmhead
from lmhead.models.transformers.patching.patch import is_patched


def saved_whole(model: nn.Module) -> Any:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "torch.save": saved_whole,
    "copy of a copy": lambda model: copy.deepcopy(copy.deepcopy(model)),
}


@pytest.mark.parametrize("form", COPIES)
@pytest.mark.parametrize("family", [llama, gemma2])
@pytest.mark.parametrize("used", [True, False], ids=["used", "fresh"])
def test_a_copy_is_trained_and_the_original_is_not(form, family, used):
    model = family()
    right = step(model)
    lmhead.patch(model)
    if used:
        model(**drawn())
    other = COPIES[form](model)
    assert is_patched(other)
    before = copy.deepcopy(model.state_dict())
    found = step(other)
    assert_same_step(found, right)
    assert "logits" not in found[0]
    assert all(parameter.grad is None for parameter in model.parameters())
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    changed = step(other)[0].loss
    lmhead.unpatch(other)
    torch.testing.assert_close(other(**drawn()).loss.double(), changed, rtol=1e-6, atol=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert is_patched(model)
    assert_same_step(step(model), right)


def test_statistics_of_a_copy_are_its_own():
    model = llama()
    lmhead.patch(model)
    other = copy.deepcopy(model)
    model(**drawn())
    other(**drawn(seed=5))
    assert not torch.equal(lmhead.last_statistics(model).nll, lmhead.last_statistics(other).nll)


def test_the_original_may_be_unpatched_and_its_copy_stays():
    model = llama()
    right = step(model)
    lmhead.patch(model)
    other = copy.deepcopy(model)
    lmhead.unpatch(model)
    assert "logits" in model(**drawn())
    assert_same_step(step(other), right)
    assert "logits" not in other(**drawn())


def test_a_shallow_copy_shares_the_models_layers_and_works():
    model = llama()
    right = step(model)
    lmhead.patch(model)
    assert_same_step(step(copy.copy(model)), right)
    assert_same_step(step(model), right)


def test_a_checkpoint_is_stocks(tmp_path):
    model = llama()
    model.save_pretrained(tmp_path / "stock")
    lmhead.patch(model)
    model(**drawn())
    model.save_pretrained(tmp_path / "patched")
    for file in sorted(path.name for path in (tmp_path / "stock").iterdir()):
        assert (tmp_path / "patched" / file).read_bytes() == (tmp_path / "stock" / file).read_bytes()
    loaded = type(model).from_pretrained(tmp_path / "patched", dtype=torch.float64)
    assert not is_patched(loaded)
    assert [*loaded.state_dict()] == [*model.state_dict()]
    assert_same_step(step(loaded.train()), step(model))


def test_a_state_is_loaded_into_a_patched_model():
    model, other = llama(), llama()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.01)
    lmhead.patch(model)
    model.load_state_dict(other.state_dict())
    assert_same_step(step(model), step(other))
