"""A head around an output layer that is somebody else's: nothing is copied, and what it cannot keep is refused."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lmhead import ArgumentError, ArgumentTypeError, LowRankAdapter, WrappedHead, causal_lm_loss
from lmhead.heads.combined import CombinedLMHead
from lmhead.heads.language_modeling import LanguageModelingHead
from lmhead.heads.parallel_multi_token import MultiTokenPredictionHead
from lmhead.losses.multi_token import MultiTokenPredictionLoss

B, T, D, V = 2, 5, 8, 13
HEADS = {
    "linear": lambda **options: WrappedHead(nn.Linear(D, V, dtype=torch.float64), **options),
    "own": lambda **options: LanguageModelingHead(D, V, bias=True, dtype=torch.float64, **options),
}
every_head = pytest.mark.parametrize("make", HEADS.values(), ids=HEADS)


def draw():
    torch.manual_seed(0)
    return torch.randn(B, T, D, dtype=torch.float64, requires_grad=True), torch.randint(V, (B, T))


def draw_adapter(**options):
    generator = torch.Generator().manual_seed(3)
    down = torch.randn(2, D, generator=generator, dtype=torch.float64, requires_grad=True)
    up = torch.randn(V, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    return LowRankAdapter(down=down, up=up, scale=0.5, **options)


@every_head
@pytest.mark.parametrize("options", [{}, {"softcap": 3.0, "logit_scale": 0.5}])
def test_the_loss_is_that_of_its_logits(make, options):
    hidden, labels = draw()
    head = make(**options)
    loss, expected = head.loss(hidden, labels=labels), causal_lm_loss(head(hidden), labels)
    leaves = [hidden, *head.parameters()]
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, leaves), torch.autograd.grad(expected, leaves))


def test_the_layer_itself_is_held():
    layer = nn.Linear(D, V)
    head = WrappedHead(layer)
    assert head.layer is layer
    assert [id(parameter) for parameter in head.parameters()] == [id(layer.weight), id(layer.bias)]
    layer.weight = nn.Parameter(torch.zeros(V, D))
    assert head.tensors().weight is layer.weight
    assert copy.deepcopy(head).tensors().weight is not layer.weight


@every_head
def test_an_adapter_by_hand(make):
    hidden, labels = draw()
    head, adapter = make(softcap=3.0), draw_adapter()
    tensors = head.tensors()
    weight = tensors.weight + adapter.scale * adapter.up @ adapter.down
    logits = 3 * torch.tanh(F.linear(hidden, weight, tensors.bias) / 3)
    leaves = [hidden, adapter.down, adapter.up, *head.parameters()]
    loss, expected = head.loss(hidden, labels=labels, adapter=adapter), causal_lm_loss(logits, labels)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, leaves), torch.autograd.grad(expected, leaves))
    total, statistics = head.multi_token_loss([hidden, hidden[:, :-1]], labels=labels, adapter=[adapter])
    torch.testing.assert_close(statistics[0].nll.sum() / (B * (T - 1)), loss.detach())
    depths = MultiTokenPredictionLoss(V, mtp_depth=1)
    torch.testing.assert_close(total, depths(logits, [logits[:, :-1]], labels=labels)[0])


@every_head
@pytest.mark.parametrize("adapter", [None, draw_adapter()])
def test_logprobs_of_labels_and_of_targets(make, adapter):
    hidden, labels = draw()
    head = make(logit_scale=0.5)
    tensors = head.tensors()
    weight = tensors.weight if adapter is None else tensors.weight + adapter.scale * adapter.up @ adapter.down
    log_p = (0.5 * F.linear(hidden, weight, tensors.bias) / 0.7).log_softmax(-1)
    expected = F.pad(log_p[:, :-1].gather(-1, labels[:, 1:, None])[..., 0], (0, 1))
    out = head.token_logprobs(hidden, labels=labels, adapter=adapter, temperature=0.7, entropy=True)
    torch.testing.assert_close(out.logprobs, expected)
    torch.testing.assert_close(out.entropy[:, :-1], -(log_p.exp() * log_p).sum(-1)[:, :-1])
    targets = F.pad(labels[:, 1:], (0, 1), value=-100)
    of_targets = head.token_logprobs(hidden, targets=targets, adapter=adapter, temperature=0.7)
    assert torch.equal(of_targets.logprobs, out.logprobs)


@every_head
def test_logprobs_of_ids_by_position_are_refused(make):
    hidden, labels = draw()
    with pytest.raises(ArgumentTypeError, match=r"labels=\.\.\. or targets=\.\.\."):
        make().token_logprobs(hidden, labels)
    with pytest.raises(ArgumentError, match="exactly one of labels and targets"):
        make().token_logprobs(hidden)


def test_a_wrapped_head_as_part_of_the_others():
    hidden, labels = draw()
    combined = CombinedLMHead(D, V, mtp_depth=2, dtype=torch.float64)
    combined.main = WrappedHead(nn.Linear(D, V, dtype=torch.float64))
    assert isinstance(combined.mtp, MultiTokenPredictionHead)
    combined.mtp.heads[1] = WrappedHead(nn.Linear(D, V, dtype=torch.float64))
    total, _ = combined.loss(hidden, hidden, labels=labels)
    expected, _ = MultiTokenPredictionLoss(V, mtp_depth=2)(*combined(hidden, hidden), labels=labels)
    leaves = [hidden, *combined.parameters()]
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(torch.autograd.grad(total, leaves), torch.autograd.grad(expected, leaves))
    with pytest.raises(ArgumentTypeError, match="main must be a LanguageModelingHead to be tied, got WrappedHead"):
        combined.tie_embedding_weights(nn.Embedding(V, D))


def test_compiled_without_a_break():
    hidden, labels = draw()
    head = WrappedHead(nn.Linear(D, V, dtype=torch.float64))
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda hidden, labels: head.loss(hidden, labels=labels), fullgraph=True, backend="aot_eager"
    )
    torch.testing.assert_close(compiled(hidden, labels), head.loss(hidden, labels=labels))


class _Doubling(nn.Linear):
    def forward(self, input):
        return 2 * super().forward(input)


class _Named(nn.Linear):
    """Another name for the same product."""


class _Quantised(torch.Tensor):
    """A weight that is stored as something else."""


class _Model(nn.Module):
    def get_output_embeddings(self):
        return None


def patched() -> nn.Module:
    layer = nn.Linear(D, V)
    layer.forward = lambda hidden: hidden
    return layer


def quantised() -> nn.Module:
    layer = nn.Linear(D, V, bias=False)
    layer.weight = nn.Parameter(torch.zeros(V, D).as_subclass(_Quantised))
    return layer


def test_a_subclass_that_multiplies_as_a_linear_layer_is_one():
    hidden, labels = draw()
    head = WrappedHead(_Named(D, V, dtype=torch.float64))
    torch.testing.assert_close(head.loss(hidden, labels=labels), causal_lm_loss(head(hidden), labels))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Embedding(V, D), r"got torch\.nn\.modules\.sparse\.Embedding: take the loss of its logits"),
        (_Doubling(D, V), "_Doubling"),
        (patched(), "Linear with a forward of its own: take the loss of its logits"),
        (quantised(), r"got torch\.nn\.modules\.linear\.Linear of _Quantised"),
        (LanguageModelingHead(D, V), "it has a loss of its own"),
        (_Model(), r"give its output layer, model\.get_output_embeddings\(\)"),
        (None, "got builtins.NoneType"),
    ],
)
def test_other_layers_are_refused_by_name(layer, message):
    with pytest.raises(ArgumentTypeError, match=f"layer must be an nn.Linear or PEFT's LoRA around one.*{message}"):
        WrappedHead(layer)


@pytest.mark.parametrize("options", [{"softcap": 0.0}, {"logit_scale": float("inf")}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ArgumentError, match=next(iter(options))):
        WrappedHead(nn.Linear(D, V), **options)
