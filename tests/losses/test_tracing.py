"""Losses where no values are (fake and meta tensors), and losses traced (torch.compile, torch.export, make_fx)."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from hypothesis import settings
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

import lmhead
from lmhead.errors import ArgumentError
from lmhead.losses.blocked_rows import _blocks

B, T, D, V = 4, 6, 8, 9


def of(device, *shape):
    return torch.randn(*shape, device=device, requires_grad=True)


def companions(ids):
    """A weight of each token, a mask and documents beside ids of any kind, the last two positions being padding."""
    position = torch.arange(T, device=ids.device).expand_as(ids)
    mask = (position < T - 2).long()
    return torch.ones_like(ids).float() * (position + 1), mask, (position // 3).where(mask == 1, -1)


def with_a_mask(logits, ids):
    weight, mask, _ = companions(ids)
    return lmhead.LanguageModelingLoss(V)(
        logits, targets=lmhead.Targets.from_labels(ids, attention_mask=mask, weight=weight)
    )


def with_documents(logits, ids):
    weight, _, document = companions(ids)
    return lmhead.causal_lm_loss(logits, ids, document=document, token_weight=weight, label_smoothing=0.1)


def with_class_weights(logits, ids):
    weight, _, _ = companions(ids)
    per_class = torch.linspace(0.5, 1.5, V, device=ids.device)
    return lmhead.cross_entropy(logits, ids, token_weight=weight, class_weight=per_class, z_loss=1e-3)


def with_statistics(logits, ids):
    loss, statistics = lmhead.cross_entropy(logits, ids, return_stats=True)
    return loss + statistics.nll.sum() + statistics.entropy.sum() + statistics.hit.sum()


def multi_token(logits, ids):
    criterion = lmhead.MultiTokenPredictionLoss(V, mtp_depth=1, label_smoothing=0.1)
    window = lmhead.depth_weights(lmhead.Targets.from_labels(ids), mtp_depth=1)
    return criterion(logits, [logits[..., :-1, :]], labels=ids, divisor=2 * window)[0]


def of_narrow_logits(logits, ids):
    return lmhead.causal_lm_loss(logits.bfloat16(), ids)


LOSSES = {
    "cross_entropy": lmhead.cross_entropy,
    "per token": lambda logits, ids: lmhead.cross_entropy(logits, ids, reduction="none").sum(),
    "causal_lm_loss": lmhead.causal_lm_loss,
    "a divisor": lambda logits, ids: lmhead.causal_lm_loss(
        logits, ids, divisor=lmhead.scored_weight(lmhead.Targets.from_labels(ids))
    ),
    "another ignore_index": lambda logits, ids: lmhead.cross_entropy(logits, ids.clamp(min=0), ignore_index=0),
    **{f.__name__: f for f in (with_a_mask, with_documents, with_class_weights, with_statistics, multi_token)},
    "of_narrow_logits": of_narrow_logits,
}


def drawn():
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, V, (B, T), generator=generator)
    ids[0, 2:] = -100  # each trace below is made with ids of which all are scored
    ids[2] = -100
    return torch.randn(B, T, V, generator=generator, requires_grad=True), ids


def loss_and_gradient(loss, logits, ids):
    value = loss(logits, ids)
    return value.detach(), torch.autograd.grad(value, logits)[0]


def worlds():
    return {"fake": (FakeTensorMode(), "cpu"), "meta": (nullcontext(), "meta")}


@pytest.mark.parametrize("world", ["fake", "meta"])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_of_logits_without_values_has_its_shape_and_a_gradient(loss, world):
    mode, device = worlds()[world]
    with mode:
        logits, ids = of(device, B, T, V), torch.ones(B, T, dtype=torch.long, device=device)
        value, gradient = loss_and_gradient(LOSSES[loss], logits, ids)
        assert (value.shape, gradient.shape, gradient.dtype) == ((), logits.shape, logits.dtype)
        assert value.device.type == device


def heads(device):
    head = lmhead.LanguageModelingHead(D, V, bias=True, softcap=20.0, device=device)
    combined = lmhead.CombinedLMHead(D, V, mtp_depth=2, device=device)
    wrapped = lmhead.WrappedHead(torch.nn.Linear(D, V, device=device))
    adapter = lmhead.LowRankAdapter(down=of(device, 2, D), up=of(device, V, 2), magnitude=torch.ones(V, device=device))
    return {
        "loss": lambda hidden, ids: head.loss(hidden, labels=ids, token_weight=companions(ids)[0]),
        "multi_token_loss": lambda hidden, ids: head.multi_token_loss([hidden, hidden], labels=ids)[0],
        "token_logprobs": lambda hidden, ids: head.token_logprobs(hidden, labels=ids, entropy=True).entropy.sum(),
        "combined": lambda hidden, ids: combined.loss(hidden, [hidden] * 2, labels=ids)[0],
        "wrapped": lambda hidden, ids: wrapped.loss(hidden, targets=ids, reduction="none").sum(),
        "DoRA": lambda hidden, ids: head.loss(hidden, labels=ids, adapter=adapter),
    }


@pytest.mark.parametrize("world", ["fake", "meta"])
@pytest.mark.parametrize("name", heads("meta"))
def test_a_head_without_values_has_losses(name, world):
    mode, device = worlds()[world]
    with mode:
        hidden, ids = of(device, B, T, D), torch.ones(B, T, dtype=torch.long, device=device)
        value, gradient = loss_and_gradient(heads(device)[name], hidden, ids)
        assert (value.shape, gradient.shape) == ((), hidden.shape)


@pytest.mark.parametrize("style", ["course", "modern"])
@pytest.mark.parametrize("world", ["fake", "meta"])
def test_a_model_without_values_has_a_loss(style, world):
    mode, device = worlds()[world]
    with mode:
        model = lmhead.GPT(V, D, num_heads=2, num_layers=1, style=style).to(device)
        ids = torch.zeros(B, T, dtype=torch.long, device=device)
        model.loss(ids, ids, document=companions(ids)[2]).backward()
        assert model.lm_head.weight.grad.shape == (V, D)


def test_what_is_measured_needs_values():
    ids = torch.zeros(T, dtype=torch.long, device="meta")
    for metric in (lmhead.PerplexityMetric(), lmhead.TokenAccuracyMetric()):
        with pytest.raises(ArgumentError, match="must have values, got a tensor that is fake, on the meta device"):
            metric.update(of("meta", T, V), targets=ids)
        assert metric.tokens == 0
    with pytest.raises(ArgumentError, match="must have values"):
        lmhead.BitsPerByteMetric().update(of("meta", T), num_bytes=3)


def test_a_loss_of_many_fake_rows_takes_few_blocks():
    with FakeTensorMode():
        logits = of("cpu", 2**14, 2**18)
        assert len(_blocks(logits, None)) <= 33  # one for a few rows each would take minutes
        lmhead.cross_entropy(logits, torch.zeros(2**14, dtype=torch.long)).backward()
        assert logits.grad.shape == logits.shape


COMPILED = ["cross_entropy", "with_documents", "with_class_weights", "with_a_mask", "multi_token"]
COMPILATIONS = [(loss, dynamic) for loss in COMPILED for dynamic in (False, True)]
if settings.get_current_profile_name() != "nightly":  # each is exported with dynamic shapes below, in less time
    COMPILATIONS = [(loss, dynamic) for loss, dynamic in COMPILATIONS if not dynamic or loss == "with_documents"]


@pytest.mark.parametrize(("loss", "dynamic"), COMPILATIONS)
def test_compiled_whole_it_is_the_same(loss, dynamic):
    torch._dynamo.reset()
    compiled = torch.compile(LOSSES[loss], fullgraph=True, backend="aot_eager", dynamic=dynamic)
    logits, ids = drawn()
    compiled(logits, torch.ones_like(ids))
    for got, expected in zip(
        loss_and_gradient(compiled, logits, ids), loss_and_gradient(LOSSES[loss], logits, ids), strict=True
    ):
        torch.testing.assert_close(got, expected)


def test_compiled_a_target_out_of_range_is_not_read():
    torch._dynamo.reset()
    compiled = torch.compile(lmhead.cross_entropy, fullgraph=True, backend="aot_eager")
    logits, _ = drawn()
    for wrong in (-1, V):
        with pytest.raises(RuntimeError, match="out of bounds"):
            compiled(logits, torch.full((B, T), wrong))


class Scored(torch.nn.Module):
    def __init__(self, loss):
        super().__init__()
        self.head = lmhead.LanguageModelingHead(D, V)
        self.of_logits = loss

    def forward(self, hidden, ids):
        return self.of_logits(self.head(hidden), ids) + self.head.loss(hidden, labels=ids)


@pytest.mark.parametrize("loss", COMPILED)
def test_exported_with_any_batch_it_is_the_same(loss):
    model = Scored(LOSSES[loss])
    ids = drawn()[1]
    hidden, rows = torch.randn(B, T, D), torch.export.Dim("rows", min=2, max=64)
    program = torch.export.export(model, (hidden, torch.ones_like(ids)), dynamic_shapes=({0: rows}, {0: rows}))
    for batch in ((hidden, ids), (torch.randn(7, T, D), ids[[0, 1, 2, 3, 3, 2, 0]])):
        torch.testing.assert_close(program.module()(*batch), model(*batch))


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_a_graph_does_not_keep_which_rows_were_scored_when_it_was_made(mode):
    logits, ids = drawn()
    graph = make_fx(lambda *given: lmhead.causal_lm_loss(*given), tracing_mode=mode)(logits, torch.ones_like(ids))
    torch.testing.assert_close(graph(logits, ids), lmhead.causal_lm_loss(logits, ids))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_trace_of_torchscript_does_not_either():
    logits, ids = drawn()
    graph = torch.jit.trace(lmhead.cross_entropy, (logits, torch.ones_like(ids)))
    torch.testing.assert_close(graph(logits, ids), F.cross_entropy(logits.flatten(0, 1), ids.flatten()))
