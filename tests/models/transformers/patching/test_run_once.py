"""A proof runs the model below the output layer once, and leaves its forwards as they were."""

import torch
from tests.models.transformers.patching.small_models import llama

import lmhead
from lmhead.models.transformers.patching.run_once import run_once

IDS = torch.ones(1, 3, dtype=torch.long)


def test_a_patch_runs_the_model_below_the_head_once():
    model, calls = llama(), []
    own = model.model.layers[0].forward
    model.model.layers[0].forward = lambda *args, **kwargs: calls.append(1) or own(*args, **kwargs)
    lmhead.patch(model)
    assert len(calls) == 1
    model(input_ids=IDS, labels=IDS)
    assert len(calls) == 2


def test_forwards_are_afterwards_whose_they_were():
    model = llama()

    def own(*args, **kwargs):
        return type(model.model).forward(model.model, *args, **kwargs)

    with run_once(model, model.lm_head):
        pass
    assert "forward" not in vars(model.model)
    model.model.forward = own
    lmhead.patch(model)
    assert model.model.forward is own


def test_what_is_called_after_the_head_runs_each_time():
    model = llama()
    with run_once(model, model.lm_head) as below:
        first = model.model(input_ids=IDS)
        below.again()
        assert model.model(input_ids=IDS) is first
        assert first.last_hidden_state.grad_fn is None
        below.at_output_layer()
        assert model.model(input_ids=IDS) is not first
