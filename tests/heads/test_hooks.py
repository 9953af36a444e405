"""A weight that hooks or parametrizations make is what a call would make of it; what a loss cannot keep is refused."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import lmhead
from lmhead.errors import ArgumentError

N, D, V = 7, 6, 11

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # the old weight norm's


def fake_quantised(layer):
    """The weight rounded to eighths before each forward; gradients pass straight through to `raw`."""
    layer.raw = nn.Parameter(layer.weight.detach().clone())
    del layer.weight

    def make(module, inputs):
        module.weight = module.raw + ((module.raw * 8).round() / 8 - module.raw).detach()

    layer.register_forward_pre_hook(make)
    return layer


def quantised_to_its_input(layer):
    """A step that depends on the hidden states, by a hook with keywords."""
    layer.raw = nn.Parameter(layer.weight.detach().clone())
    del layer.weight

    def make(module, args, kwargs):
        module.weight = module.raw * args[0].detach().abs().amax()

    layer.register_forward_pre_hook(make, with_kwargs=True)
    return layer


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def parametrized(layer):
    parametrize.register_parametrization(layer, "weight", Doubled())
    return layer


def parametrized_bias(layer):
    parametrize.register_parametrization(layer, "bias", Doubled())
    return layer


MAKERS = {
    "l1_unstructured": lambda layer: prune.l1_unstructured(layer, "weight", amount=0.5),
    "ln_structured": lambda layer: prune.ln_structured(layer, "weight", amount=0.3, n=2, dim=0),
    "pruned twice": lambda layer: prune.random_unstructured(
        prune.l1_unstructured(layer, "weight", amount=0.3), "weight", amount=0.3
    ),
    "pruned bias": lambda layer: prune.l1_unstructured(layer, "bias", amount=0.5),
    "old weight_norm": lambda layer: nn.utils.weight_norm(layer),
    "old spectral_norm": lambda layer: nn.utils.spectral_norm(layer),
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    **{f.__name__: f for f in (fake_quantised, quantised_to_its_input, parametrized, parametrized_bias)},
}


def linear():
    return nn.Linear(D, V, dtype=torch.float64)


def own_head():
    return lmhead.LanguageModelingHead(D, V, bias=True, dtype=torch.float64)


def drawn():
    torch.manual_seed(0)
    return torch.randn(N, D, dtype=torch.float64), torch.randint(V, (N,))


def seeded(maker, make):
    torch.manual_seed(1)
    return MAKERS[maker](make())


@pytest.mark.parametrize("make", [linear, own_head])
@pytest.mark.parametrize("maker", MAKERS)
def test_a_loss_trains_the_weight_that_a_call_would_make(maker, make):
    hidden, targets = drawn()
    layer, twin = seeded(maker, make), seeded(maker, make)
    head = lmhead.WrappedHead(layer) if isinstance(layer, nn.Linear) else layer
    optimizers = [torch.optim.SGD(module.parameters(), lr=0.3) for module in (layer, twin)]
    seen = []
    for _ in range(3):
        losses = [head.loss(hidden, targets=targets), lmhead.cross_entropy(twin(hidden), targets)]
        torch.testing.assert_close(*losses)
        seen.append(losses[0].item())
        for loss, optimizer in zip(losses, optimizers, strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert seen[2] < seen[1] < seen[0]  # a stale weight learns nothing
    torch.testing.assert_close(dict(layer.named_parameters()), dict(twin.named_parameters()))
    torch.testing.assert_close(dict(layer.named_buffers()), dict(twin.named_buffers()))  # spectral norm's steps too


@pytest.mark.parametrize("maker", ["l1_unstructured", "spectral_norm", "fake_quantised"])
def test_every_loss_of_a_head_sees_it(maker):
    hidden, targets = drawn()
    layer = MAKERS[maker](linear().eval())
    head = lmhead.WrappedHead(layer)
    with torch.no_grad():
        next(layer.parameters()).mul_(1.5)  # behind the back of a weight that was made before
        log_p = layer(hidden).log_softmax(-1).gather(-1, targets[:, None])[:, 0]
        next(layer.parameters()).mul_(1.5)
        assert not torch.allclose(head.token_logprobs(hidden, targets=targets).logprobs, log_p)
        next(layer.parameters()).div_(1.5)
    torch.testing.assert_close(head.token_logprobs(hidden, targets=targets).logprobs, log_p)
    total, _ = head.multi_token_loss([hidden], targets=targets)
    torch.testing.assert_close(total, -log_p.mean())


def test_a_head_of_several_sees_it():
    hidden, targets = drawn()
    hidden, targets = hidden[None], targets[None]
    head = lmhead.CombinedLMHead(D, V, dtype=torch.float64)
    for module in (head.main, head.mtp.heads[0]):
        prune.l1_unstructured(module, "weight", amount=0.5)
        with torch.no_grad():
            module.weight_orig.mul_(2)
    logits, mtp_logits = head(hidden, [hidden])
    expected, _ = lmhead.MultiTokenPredictionLoss(V)(logits, mtp_logits, targets=targets)
    with torch.no_grad():
        for module in (head.main, head.mtp.heads[0]):
            module.weight_orig.mul_(2)
            module.weight = None  # stale: it must not be read
            module.weight_orig.div_(2)
    torch.testing.assert_close(head.loss(hidden, [hidden], targets=targets)[0], expected)


def test_wrapping_a_layer_steps_no_parametrization():
    layer = parametrizations.spectral_norm(linear())
    before = copy.deepcopy(layer.state_dict())
    lmhead.WrappedHead(layer)
    torch.testing.assert_close(dict(layer.state_dict()), dict(before))


def test_a_hook_that_only_looks_is_given_the_hidden_states():
    hidden, targets = drawn()
    seen = []
    for module, head in ((layer := linear(), lmhead.WrappedHead(layer)), (own := own_head(), own)):
        module.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        module.register_forward_pre_hook(lambda module, args, kwargs: (args, kwargs), with_kwargs=True)
        head.loss(hidden, targets=targets)
        assert seen.pop() is hidden
        assert not seen


LATE = {
    "forward": lambda module: module.register_forward_hook(lambda module, args, output: 2 * output),
    "forward with keywords": lambda module: module.register_forward_hook(
        lambda module, args, kwargs, output: None, with_kwargs=True
    ),
    "backward": lambda module: module.register_full_backward_hook(lambda module, grads, outs: None),
    "backward pre": lambda module: module.register_full_backward_pre_hook(lambda module, outs: None),
}
CHANGED = {
    "another tensor": lambda module: module.register_forward_pre_hook(lambda module, args: 2 * args[0]),
    "a tuple": lambda module: module.register_forward_pre_hook(lambda module, args: (torch.zeros(N, D),)),
    "keywords": lambda module: module.register_forward_pre_hook(
        lambda module, args, kwargs: (args, {"more": 1}), with_kwargs=True
    ),
}


def heads():
    layer, own, combined = linear(), own_head(), lmhead.CombinedLMHead(D, V, dtype=torch.float64)
    wrapped = lmhead.WrappedHead(linear())
    return {
        "a wrapped layer": (layer, lmhead.WrappedHead(layer).loss),
        "a wrapping head": (wrapped, wrapped.loss),
        "a head of its own": (own, own.loss),
        "a head of several": (combined, combined.loss),
        "one of several": (combined.main, combined.loss),
        "parallel heads": (combined.mtp, lambda hidden, **ids: combined.loss(hidden, [hidden], **ids)),
    }


@pytest.mark.parametrize("where", heads())
@pytest.mark.parametrize("hook", [*LATE, *CHANGED])
def test_a_hook_that_a_loss_cannot_keep_is_refused_until_it_is_gone(hook, where):
    hidden, targets = (tensor[None] for tensor in drawn())
    module, loss = heads()[where]
    handle = (LATE | CHANGED)[hook](module)
    rule = "hook that changes its input" if hook in CHANGED else f"{hook.split()[0]} hook"
    with pytest.raises(ArgumentError, match=rf"must have no {rule}.*got tests\..*lambda.*take the loss of its logits"):
        loss(hidden, targets=targets)
    handle.remove()
    loss(hidden, targets=targets)


def test_a_layer_with_a_hook_on_its_output_is_not_wrapped():
    layer = linear()
    layer.register_forward_hook(lambda module, args, output: 2 * output)
    with pytest.raises(ArgumentError, match="layer must have no forward hook"):
        lmhead.WrappedHead(layer)


def test_without_hidden_states_only_hooks_that_need_none_are_run():
    layer = prune.l1_unstructured(linear(), "weight", amount=0.5)
    with torch.no_grad():
        layer.weight_orig.mul_(2)
    torch.testing.assert_close(lmhead.WrappedHead(layer).tensors().weight, layer.weight_orig * layer.weight_mask)
    with pytest.raises(ArgumentError, match="no hook that may need what it is called with"):
        lmhead.WrappedHead(fake_quantised(linear())).tensors()


def test_a_weight_that_is_made_of_others_cannot_be_tied():
    embedding = nn.Embedding(V, D, dtype=torch.float64)
    for maker in ("l1_unstructured", "parametrized"):
        with pytest.raises(ArgumentError, match="tie first"):
            MAKERS[maker](own_head()).tie_embedding_weights(embedding)
    head = own_head()
    head.tie_embedding_weights(embedding)
    prune.l1_unstructured(head, "weight", amount=0.5)
    assert head.weight_orig is embedding.weight


@pytest.mark.parametrize("maker", ["l1_unstructured", "spectral_norm", "old weight_norm", "fake_quantised"])
def test_compiled_without_a_break(maker):
    hidden, targets = drawn()
    head = lmhead.WrappedHead(MAKERS[maker](linear().eval()))
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: head.loss(x, targets=targets), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(hidden), head.loss(hidden, targets=targets))
