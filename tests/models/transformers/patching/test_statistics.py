"""last_statistics: each token's nll, entropy and hit, of the loss's own pass."""

import pytest
import torch
from tests.models.transformers.patching.small_models import bart, cohere, drawn, gemma2, llama
from torch.nn import functional as F

import lmhead
from lmhead import ArgumentError


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("family", [llama, gemma2, cohere, bart])
def test_they_are_those_of_stocks_logits(family, training):
    model = family().train(training)
    batch = drawn()
    with torch.no_grad():
        logits = model(**batch).logits.double()
    targets = batch["labels"] if family is bart else lmhead.shift_labels(batch["labels"])
    targets, logits = targets.flatten(), logits.flatten(0, 1)
    lmhead.patch(model)
    model(**batch)
    found = lmhead.last_statistics(model)
    scored = targets != -100
    logprobs = logits.log_softmax(-1)
    assert torch.equal(found.scored, scored)
    torch.testing.assert_close(found.nll, F.cross_entropy(logits, targets, reduction="none"))
    torch.testing.assert_close(found.lse[scored], logits.logsumexp(-1)[scored])
    torch.testing.assert_close(found.entropy[scored], -(logprobs.exp() * logprobs).sum(-1)[scored])
    assert torch.equal(found.hit, (logits.argmax(-1) == targets) & scored)
    assert not any(getattr(found, name).requires_grad for name in ("nll", "lse", "entropy"))


def test_they_are_of_the_last_forward_with_labels_alone():
    model = llama()
    lmhead.patch(model)
    with pytest.raises(ArgumentError, match=r"^model must have had a loss in its last forward, got none"):
        lmhead.last_statistics(model)
    model(**drawn())
    first = lmhead.last_statistics(model).nll
    model(**drawn(seed=2))
    assert not torch.equal(lmhead.last_statistics(model).nll, first)
    model.eval()(input_ids=drawn()["input_ids"])
    with pytest.raises(ArgumentError, match="got none taken by the patch"):
        lmhead.last_statistics(model)


def test_a_model_that_is_not_patched_has_none():
    with pytest.raises(
        ArgumentError, match=r"^model must be patched, got a LlamaForCausalLM that is not: lmhead.patch"
    ):
        lmhead.last_statistics(llama())


def test_after_a_forward_that_raised_there_are_none():
    model = llama()
    lmhead.patch(model)
    model(**drawn())
    with pytest.raises(IndexError):
        model(input_ids=torch.tensor([[-1]]), labels=torch.tensor([[1]]))
    with pytest.raises(ArgumentError, match="got none"):
        lmhead.last_statistics(model)


def test_they_keep_no_graph_alive():
    model = llama()
    lmhead.patch(model)
    model(**drawn())
    found = lmhead.last_statistics(model)
    assert all(getattr(found, name).grad_fn is None for name in ("nll", "lse", "entropy", "hit", "scored"))


def test_asking_for_them_computes_nothing():
    model = llama()
    lmhead.patch(model)
    model(**drawn())
    assert lmhead.last_statistics(model) is lmhead.last_statistics(model)
