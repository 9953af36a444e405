"""A patched model trains and is evaluated as stock: a dozen types, one for each way from head to loss.

All types: `python -m tests.nightly.causal_lms`.
"""

import inspect
from unittest.mock import patch as replaced

import pytest
import torch
from tests.models.transformers.causal_lms.build import DOZEN, build, inputs_for
from tests.models.transformers.causal_lms.parity import TRAINED, disagreement, head_input_times, step
from torch.nn import functional as F

import lmhead
from lmhead.models.transformers.patching import fused_loss
from lmhead.ops.linear_cross_entropy import linear_cross_entropy

NEEDS_AN_EXAMPLE = ("git", "reformer")
OWN_LOSS = ("bart", "xlm")  # not transformers' `loss_function`: no shift, num_items_in_batch is ignored
LABELS = 13  # of inputs_for that are not ignored


@pytest.fixture(scope="module", params=DOZEN)
def model_type(request):
    return request.param


@pytest.fixture(scope="module")
def model(model_type):
    return build(model_type)


@pytest.fixture(scope="module")
def inputs(model):
    return inputs_for(model)


@pytest.fixture
def patched(model, model_type, inputs):
    with lmhead.patch(model.train(), example=inputs if model_type in NEEDS_AN_EXAMPLE else None):
        yield model


@pytest.mark.parametrize("deviation", [None, TRAINED], ids=["as initialised", "as trained"])
def test_loss_and_the_gradients_of_all_parameters_are_stocks(model, model_type, inputs, deviation):
    stock = step(model.train(), inputs, deviation=deviation)
    example = inputs if model_type in NEEDS_AN_EXAMPLE else None
    with (
        lmhead.patch(model, example=example),
        replaced.object(fused_loss, "linear_cross_entropy", wraps=linear_cross_entropy) as op,
    ):
        found = step(model, inputs, deviation=deviation)
    assert op.call_count == 1
    assert disagreement(found, stock) is None
    assert found.keys == tuple(key for key in stock.keys if key != "logits")
    assert disagreement(step(model, inputs, deviation=deviation), stock) is None  # the patch is off


def test_statistics_are_those_of_the_labels_that_are_not_ignored(patched, inputs):
    loss = step(patched, inputs, deviation=TRAINED).loss
    statistics = lmhead.last_statistics(patched)
    assert int(statistics.scored.sum()) == LABELS
    assert float(statistics.nll[statistics.scored].mean()) == pytest.approx(loss, rel=1e-5)
    assert not statistics.nll.requires_grad


@pytest.mark.parametrize("model_type", [each for each in DOZEN if each != "git"])  # git's logits begin with its images
def test_statistics_equal_those_of_the_logits(model_type):
    model = build(model_type).eval()
    inputs = inputs_for(model)
    with torch.no_grad(), head_input_times(model, 100.0), lmhead.patch(model):
        logits = model(**inputs).logits.double()
        statistics = lmhead.last_statistics(model)
    labels = inputs["labels"]
    if model_type not in OWN_LOSS:  # shifted
        logits, labels = logits[:, :-1], labels[:, 1:]
    logits, labels = logits[labels != -100], labels[labels != -100]
    taken = statistics.scored
    nll = F.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(statistics.nll[taken].double(), nll, rtol=1e-5, atol=1e-5)
    entropy = torch.distributions.Categorical(logits=logits).entropy()
    torch.testing.assert_close(statistics.entropy[taken].double(), entropy, rtol=1e-4, atol=1e-5)
    assert torch.equal(statistics.hit[taken], logits.argmax(-1) == labels)


def test_num_items_in_batch_divides_as_stock(model, model_type, inputs):
    if model_type in OWN_LOSS and "kwargs" not in inspect.signature(model.forward).parameters:
        pytest.skip("transformers 4's takes no num_items_in_batch")
    counted = {**inputs, "num_items_in_batch": torch.tensor(37)}
    stock = step(model.train(), counted)
    with lmhead.patch(model, example=inputs if model_type in NEEDS_AN_EXAMPLE else None):
        if model_type in OWN_LOSS:
            with pytest.warns(UserWarning, match="without accumulation"):
                found = step(model, counted)
        else:
            found = step(model, counted)
    assert disagreement(found, stock) is None


@torch.no_grad()
def test_evaluation_gives_stocks_logits_to_the_last_bit(patched, model, inputs):
    patched.eval()
    found = patched(**inputs)
    without = patched(**{name: value for name, value in inputs.items() if name != "labels"})
    lmhead.unpatch(patched)
    stock = model(**inputs)
    assert type(found) is type(stock)
    assert tuple(found) == tuple(stock)
    assert torch.equal(found.logits, stock.logits)
    assert torch.equal(without.logits, stock.logits)
    torch.testing.assert_close(found.loss, stock.loss, rtol=1e-5, atol=0)


def test_the_loss_of_a_router_is_added():
    model = build("mixtral", output_router_logits=True, router_aux_loss_coef=0.5)
    inputs = inputs_for(model)
    stock = step(model, inputs)
    with lmhead.patch(model):
        found = step(model, inputs)
        statistics = lmhead.last_statistics(model)
    assert disagreement(found, stock) is None
    assert found.loss > float(statistics.nll[statistics.scored].mean()) + 0.5
    assert "aux_loss" in found.keys


@pytest.mark.parametrize(
    ("model_type", "why"),
    [("musicgen", "model must have one output layer, got 4"), ("prophetnet", "ask nothing of its logits")],
)
def test_a_loss_of_another_kind_is_refused_and_the_model_left_as_it_was(model_type, why):
    model = build(model_type).eval()
    inputs = inputs_for(model)
    before = model(**inputs)
    with pytest.raises(lmhead.ArgumentError, match=why):
        lmhead.patch(model)
    assert not model.training
    assert torch.equal(model(**inputs).logits, before.logits)


@pytest.mark.parametrize("model_type", NEEDS_AN_EXAMPLE)
def test_a_model_that_needs_more_than_ids_asks_for_an_example(model_type):
    model = build(model_type)
    with pytest.raises(lmhead.ArgumentError, match="example=batch"):
        lmhead.patch(model)
    with lmhead.patch(model, example=inputs_for(model)):
        assert "logits" not in model(**inputs_for(model))


def test_a_cap_in_the_config_that_the_model_does_not_apply_is_not_applied():
    model = build("gemma3", text_config={"final_logit_softcapping": 5.0})
    inputs = inputs_for(model)
    stock = step(model, inputs, deviation=TRAINED)
    with lmhead.patch(model) as patched:
        assert patched.proof.record == ""
        assert disagreement(step(model, inputs, deviation=TRAINED), stock) is None
