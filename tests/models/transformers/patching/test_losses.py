"""Losses of users' own, losses of the model's own, and forwards that go around the patch: right, and told once."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.models.transformers.patching.small_models import V, assert_same_step, bart, drawn, llama, step
from torch import Tensor, nn
from torch.nn import functional as F

import lmhead


def twice(call: Callable[[], Any]) -> Any:
    call()
    return call()


def shifted(logits: Any, labels: Tensor) -> tuple[Any, Tensor]:
    return logits.float()[:, :-1].reshape(-1, V), labels[:, 1:].reshape(-1)


def focal_by_each(logits: Any, labels: Tensor, **_: Any) -> Tensor:
    nll = F.cross_entropy(*shifted(logits, labels), reduction="none")
    return ((1 - torch.exp(-nll)) ** 2 * nll).sum() / (labels[:, 1:] != -100).sum()


def focal_by_softmax(logits: Any, labels: Tensor, **_: Any) -> Tensor:
    rows, targets = shifted(logits, labels)
    scored = targets != -100
    share = torch.softmax(rows, dim=-1)[scored, targets[scored]]
    return ((1 - share) ** 2 * -share.log()).sum() / scored.sum()


def weighted(logits: Any, labels: Tensor, **_: Any) -> Tensor:
    return F.cross_entropy(*shifted(logits, labels), weight=torch.linspace(0.5, 2.0, V))


def smoothed(logits: Any, labels: Tensor, **_: Any) -> Tensor:
    return nn.CrossEntropyLoss(label_smoothing=0.1)(*shifted(logits, labels))


def with_a_metric(logits: Any, labels: Tensor, **_: Any) -> Tensor:
    with torch.no_grad():
        assert logits.argmax(-1).shape == labels.shape
    return F.cross_entropy(*shifted(logits, labels))


@pytest.mark.parametrize("loss", [focal_by_each, weighted, smoothed], ids=lambda each: each.__name__)
def test_a_users_loss_by_cross_entropy_is_fused(loss):
    model = llama().float()
    lmhead.patch(model)
    model.loss_function = loss
    found = step(model)
    lmhead.last_statistics(model)
    lmhead.unpatch(model)
    assert_same_step(found, step(model), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("loss", "asked"), [(focal_by_softmax, "softmax"), (with_a_metric, "argmax")])
def test_a_users_loss_that_needs_logits_is_right_and_told_once(loss, asked):
    model = llama().float()
    lmhead.patch(model)
    model.loss_function = loss
    with pytest.warns(UserWarning, match=f"^the patched model makes its logits, which {asked!r} asks for") as told:
        found = twice(lambda: step(model))
    assert len(told) == 1
    lmhead.unpatch(model)
    assert_same_step(found, step(model), rtol=1e-4, atol=1e-6)


def test_in_evaluation_the_same_is_told_once_too_and_logits_are_right():
    model = llama().float()
    lmhead.patch(model)
    model.eval().loss_function = focal_by_softmax
    with pytest.warns(UserWarning, match="makes its logits"):
        found = model(**drawn())
    lmhead.unpatch(model)
    right = model(**drawn())
    assert torch.equal(found.logits, right.logits)
    torch.testing.assert_close(found.loss, right.loss)


def test_a_loss_of_the_models_own_is_not_divided_and_told_once():
    """Trainer hands num_items_in_batch to every forward that takes keywords; bart's loss lets it lie."""
    model = bart()
    right = step(model, **drawn(), num_items_in_batch=7)
    lmhead.patch(model)
    with pytest.warns(
        UserWarning, match="^BartForCausalLM must be trained without accumulation, got num_items"
    ) as told:
        found = twice(lambda: step(model, **drawn(), num_items_in_batch=7))
    assert len(told) == 1
    assert_same_step(found, right)


@pytest.mark.parametrize("family", [llama, bart])
def test_nothing_is_told_where_nothing_is_wrong(family):
    items = {} if family is bart else {"num_items_in_batch": 5}
    model = family()
    lmhead.patch(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for training in (True, False):
            model.train(training)(**drawn(), **items)
            with torch.set_grad_enabled(not training):  # as in training, but to look at the model
                model(input_ids=drawn()["input_ids"])


def test_a_forward_that_goes_around_the_output_layer_is_told_once():
    """As TRL's SFTTrainer and Liger put in its place."""

    def fused(model: Any, input_ids: Tensor, labels: Tensor | None = None, **_: Any) -> dict[str, Tensor]:
        hidden = model.model(input_ids).last_hidden_state
        return {"loss": model.loss_function(hidden @ model.lm_head.weight.T, labels, vocab_size=V)}

    model = llama()
    lmhead.patch(model)
    right = step(model)
    model.forward = fused.__get__(model)
    with pytest.warns(
        UserWarning, match=r"^LlamaForCausalLM's forward must call its output layer, got a loss without it"
    ) as told:
        found = twice(lambda: step(model))
    assert len(told) == 1
    assert_same_step(found, right)
    with pytest.raises(lmhead.ArgumentError, match="got none taken by the patch"):
        lmhead.last_statistics(model)
    with pytest.raises(lmhead.ArgumentError, match="must call its output layer once for a loss, got 0 calls"):
        lmhead.unpatch(model) or lmhead.patch(model)


def test_no_token_scored_is_a_loss_of_0_where_stock_has_nan():
    model = llama()
    lmhead.patch(model)
    batch = {**drawn(), "labels": torch.full((2, 12), -100)}
    output, gradients = step(model, **batch)
    assert output.loss == 0
    assert all(not gradient.any() for gradient in gradients.values())
