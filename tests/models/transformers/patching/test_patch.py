"""patch: what a patched model gives to those who call it, with labels and without."""

import copy
import inspect
import pickle
import re
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest
import torch
from tests.models.transformers.patching.small_models import (
    V,
    assert_same_step,
    bart,
    cohere,
    drawn,
    gemma2,
    gpt2,
    llama,
    phi,
    step,
)
from torch import nn

import lmhead
from lmhead import ArgumentError
from lmhead.models.transformers.patching import direct_forward
from lmhead.models.transformers.patching.lazy_logits import LazyLogits
from lmhead.models.transformers.patching.patch import is_patched, lazy_logits_and_rest

FAMILIES = [llama, gemma2, cohere, phi, gpt2, bart]


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_every_gradient_are_stocks(family):
    model = family()
    right = step(model)
    lmhead.patch(model)
    assert_same_step(step(model), right)


@pytest.mark.parametrize("items", [7, torch.tensor(7)])
def test_the_loss_is_divided_by_num_items_in_batch(items):
    model = llama()
    right = step(model, **drawn(), num_items_in_batch=items)
    lmhead.patch(model)
    assert_same_step(step(model, **drawn(), num_items_in_batch=items), right)


@pytest.mark.parametrize("kept", [5, slice(2, 9)])
def test_logits_to_keep_is_followed(kept):
    batch, some = drawn(), range(12)[kept] if isinstance(kept, slice) else range(12)[-kept:]
    batch["labels"] = batch["labels"][:, list(some)]
    batch["labels"][:] = 5
    model = llama()
    right = step(model, **batch, logits_to_keep=kept)
    lmhead.patch(model)
    assert_same_step(step(model, **batch, logits_to_keep=kept), right)


# ---- the output


def test_in_training_the_output_is_the_models_class_without_logits():
    model = llama()
    stock = model(**drawn())
    lmhead.patch(model)
    output = model(**drawn())
    assert type(output) is type(stock)
    assert [*output] == [key for key in stock if key != "logits"]
    assert "logits" not in output
    assert output.logits is None
    assert len(output.to_tuple()) == len(stock.to_tuple()) - 1
    assert output[0] is output.loss


@pytest.mark.parametrize("family", FAMILIES)
def test_in_evaluation_the_logits_are_stocks_to_the_last_bit(family):
    model = family().float().eval()
    with torch.no_grad():
        stock = model(**drawn())
        lmhead.patch(model)
        output = model(**drawn())
    assert [*output] == [*stock]
    assert torch.equal(output.logits, stock.logits)
    torch.testing.assert_close(output.loss, stock.loss)


@pytest.mark.parametrize(
    ("logits", "training", "there"),
    [
        ("eval", True, False),
        ("eval", False, True),
        ("always", True, True),
        ("always", False, True),
        ("never", True, False),
        ("never", False, False),
    ],
)
def test_when_there_are_logits_beside_a_loss(logits, training, there):
    model = llama().train(training)
    stock = model(**drawn())
    lmhead.patch(model, logits=logits)
    output = model(**drawn())
    assert ("logits" in output) == there
    if there:
        assert torch.equal(output.logits, stock.logits)
    torch.testing.assert_close(output.loss.float(), stock.loss)


def test_logits_that_are_kept_have_their_gradient():
    model = llama()
    right = model(**drawn()).logits.logsumexp(-1).sum()
    (gradient,) = torch.autograd.grad(right, model.lm_head.weight)
    lmhead.patch(model, logits="always")
    found = model(**drawn()).logits.logsumexp(-1).sum()
    torch.testing.assert_close(torch.autograd.grad(found, model.lm_head.weight)[0], gradient)


@torch.no_grad()
@pytest.mark.parametrize("training", [True, False])
def test_without_labels_nothing_is_changed(training):
    model = llama().train(training)
    stock = model(input_ids=drawn()["input_ids"])
    lmhead.patch(model, logits="never")
    output = model(input_ids=drawn()["input_ids"])
    assert torch.equal(output.logits, stock.logits)
    assert [*output] == [*stock]


def test_generates_the_same():
    model = llama().eval()
    options = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    stock = model.generate(drawn()["input_ids"], **options)
    lmhead.patch(model)
    assert torch.equal(model.generate(drawn()["input_ids"], **options), stock)


def test_a_tuple_keeps_its_places():
    model = llama()
    stock = model(**drawn(), return_dict=False)
    lmhead.patch(model)
    output = model(**drawn(), return_dict=False)
    assert type(output) is tuple
    assert len(output) == len(stock)
    torch.testing.assert_close(output[0].float(), stock[0])
    assert torch.equal(output[1], stock[1])
    lmhead.unpatch(model)
    lmhead.patch(model, logits="never")
    loss, logits, *_ = model(**drawn(), return_dict=False)
    torch.testing.assert_close(loss.float(), stock[0])
    assert logits is None
    with torch.no_grad():
        (logits, *_) = model(input_ids=drawn()["input_ids"], return_dict=False)
    assert torch.equal(logits, stock[1])


@pytest.mark.parametrize("training", [True, False])
def test_an_output_within_the_output_has_no_lazy_logits_either(training):
    """As Blip-2 hands out its text model's."""
    model = llama().train(training)

    class Of(type(model)):
        def forward(self, input_ids=None, labels=None, **options):
            output = super().forward(input_ids=input_ids, **options)
            loss = self.loss_function(output.logits, labels, vocab_size=V)
            return {"loss": loss, "text": output, "all": (output.logits, [output])}

    model.__class__ = Of
    stock = model(**drawn())
    lmhead.patch(model)
    output = model(**drawn())
    torch.testing.assert_close(output["loss"].float(), stock["loss"])
    assert ("logits" in output["text"]) == (not training)
    assert torch.equal(output["all"][0], stock["all"][0])
    assert [*output["all"][1][0]] == [*stock["all"][1][0]]


def test_labels_may_be_positional():
    model = llama()
    batch = drawn()
    names = [*inspect.signature(model.forward).parameters]
    given = [batch.get(name) for name in names[: names.index("labels") + 1]]
    lmhead.patch(model)
    output = model(*given)
    assert "logits" not in output
    torch.testing.assert_close(output.loss, model(**batch).loss)


def test_class_signature_state_and_config_stay():
    model = llama()
    before = (type(model), inspect.signature(model.forward), [*model.state_dict()], repr(model), model.config.to_dict())
    lmhead.patch(model)
    after = (type(model), inspect.signature(model.forward), [*model.state_dict()], repr(model), model.config.to_dict())
    assert before == after


def test_hooks_of_others_see_no_lazy_logits():
    """Those that were there before the patch too."""
    model, seen = llama(), []
    model.register_forward_hook(lambda _module, _args, output: seen.append(output))
    lmhead.patch(model)
    model(**drawn())
    model.register_forward_hook(lambda _module, _args, output: seen.append(output))
    model.eval()(**drawn())
    assert not any(isinstance(each, LazyLogits) for output in seen for each in output.values())


@pytest.mark.parametrize("early", [True, False])
def test_a_hook_of_the_output_layer_may_change_what_it_gives(early):
    """It is handed lazy logits, and whatever it makes of them is the model's."""
    model = llama()
    model.lm_head.register_forward_hook(lambda _module, _args, logits: 2.0 * logits)
    right = step(model)
    model.lm_head._forward_hooks.clear()
    if not early:
        lmhead.patch(model)
    model.lm_head.register_forward_hook(lambda _module, _args, logits: 2.0 * logits)
    if early:
        assert "logits scaled by 2;" in repr(lmhead.patch(model))
    assert_same_step(step(model), right)


def test_a_hook_of_the_output_layers_gradient_is_refused():
    model = llama()
    model.lm_head.register_full_backward_hook(lambda _module, _into, _out: None)
    with pytest.raises(ArgumentError, match=r"layer must have no backward hook, .*: remove it"):
        lmhead.patch(model)
    assert not is_patched(model)
    model.lm_head._backward_hooks.clear()
    lmhead.patch(model)
    model.lm_head.register_full_backward_hook(lambda _module, _into, _out: None)
    with (
        pytest.raises(ArgumentError, match=r"layer must have no backward hook"),
        pytest.warns(UserWarning, match="backward hooks to be called"),
    ):
        model(**drawn())


@pytest.mark.parametrize(
    "called", [lambda layer, hidden: layer(input=hidden), lambda layer, hidden: layer.forward(hidden)]
)
def test_a_model_may_call_its_output_layer_in_any_way(called: Callable[..., Any]):
    model = llama()

    class Of(type(model)):
        def forward(self, input_ids=None, labels=None, **options):
            logits = called(self.lm_head, self.model(input_ids).last_hidden_state)
            loss = self.loss_function(logits, labels, vocab_size=V, **options)
            return {"loss": loss, "logits": logits}

    right = step(model)
    model.__class__ = Of
    lmhead.patch(model)
    found = step(model)
    assert_same_step(found, right)
    assert "logits" not in found[0]


@pytest.mark.parametrize(
    ("installed", "intercepted"), [("0.18.0", True), ("0.20.1", True), ("0.21.2", False), ("1.0", False), (None, False)]
)
def test_a_forward_that_is_called_past_the_hooks(installed, intercepted, monkeypatch):
    """As PEFT's tuners before 0.21 call it."""

    def version(name: str) -> str:
        if installed is None:
            raise PackageNotFoundError(name)
        return installed

    monkeypatch.setattr(direct_forward, "version", version)
    model = llama()
    right, signature = step(model), inspect.signature(model.forward)
    lmhead.patch(model)
    for each in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        output = each.forward(**drawn())
        assert ("logits" not in output) == intercepted
        torch.testing.assert_close(output.loss.double(), right[0].loss.double(), rtol=1e-6, atol=1e-6)
        assert "logits" not in each(**drawn())
        assert inspect.signature(each.forward) == signature
        lmhead.unpatch(each)
        assert "forward" not in vars(each)
        assert_same_step(step(each), right)


# ---- on and off


def test_unpatch_leaves_nothing():
    model = llama()

    def traces() -> list[Any]:
        return [
            (sorted(vars(module)), [*module._forward_hooks], [*module._forward_pre_hooks]) for module in model.modules()
        ]

    before, right = traces(), step(model)
    lmhead.patch(model)
    assert is_patched(model)
    lmhead.unpatch(model)
    assert not is_patched(model)
    assert traces() == before
    assert "logits" in model(**drawn())
    assert_same_step(step(model), right)


def test_a_context_takes_the_patch_off_at_its_end():
    model = llama()
    with lmhead.patch(model) as patched:
        assert patched.model is model
        assert is_patched(model)
    assert not is_patched(model)
    with pytest.raises(KeyError), lmhead.patch(model):
        raise KeyError
    assert not is_patched(model)
    with lmhead.patch(model):
        lmhead.unpatch(model)
    assert not is_patched(model)


@pytest.mark.parametrize(
    ("family", "said"),
    [
        (llama, r"Patch\(LlamaForCausalLM: loss equal to \S+e-\d+, gradients to \S+e-\d+\)"),
        (gemma2, r"Patch\(Gemma2ForCausalLM: logits capped at 30; loss .*"),
        (cohere, r"Patch\(CohereForCausalLM: logits scaled by 0.0625; loss .*"),
    ],
)
def test_a_patch_tells_what_was_proven(family, said):
    assert re.fullmatch(said, repr(lmhead.patch(family())))


def test_a_forward_that_raises_leaves_no_trace():
    model = llama()
    lmhead.patch(model)
    stock = llama()(input_ids=drawn()["input_ids"])
    with pytest.raises(IndexError):
        model(input_ids=torch.tensor([[V + 1]]), labels=torch.tensor([[1]]))
    model.eval()
    assert torch.equal(model(input_ids=drawn()["input_ids"]).logits, stock.logits)
    assert isinstance(model.lm_head(torch.zeros(1, 32, dtype=torch.float64)), torch.Tensor)


def test_the_output_layer_by_itself_is_its_own():
    model = llama().eval()
    lmhead.patch(model)
    hidden = torch.randn(3, 32, dtype=torch.float64)
    assert torch.equal(model.lm_head(hidden), nn.functional.linear(hidden, model.lm_head.weight))


def test_a_loss_of_ones_own_takes_the_logits_unmade():
    model = llama()
    ids, targets = drawn()["input_ids"], lmhead.shift_labels(drawn()["labels"])
    lmhead.patch(model)
    lazy = lazy_logits_and_rest(model, input_ids=ids)[0]
    head = lazy.linear()
    loss = lmhead.linear_cross_entropy(lazy.hidden, head.weight, targets, z_loss=0.1)
    assert "logits" in model.eval()(input_ids=ids)
    lmhead.unpatch(model)
    logits = model(input_ids=ids).logits
    right = lmhead.linear_cross_entropy(logits, torch.eye(V, dtype=torch.float64), targets, z_loss=0.1)
    torch.testing.assert_close(loss, right)


def test_two_patched_models_do_not_mix():
    one, other = llama(), gemma2()
    rights = [step(each) for each in (one, other)]
    lmhead.patch(one)
    lmhead.patch(other)
    outputs = [one(**drawn()), other(**drawn(seed=2))]
    statistics = [lmhead.last_statistics(each) for each in (one, other)]
    assert not torch.equal(statistics[0].nll, statistics[1].nll)
    assert all("logits" not in each for each in outputs)
    for model, right in zip((one, other), rights, strict=True):
        assert_same_step(step(model), right)
