"""LoRA and DoRA inside the op: loss and gradients are those of the merged head, which the op never makes."""

import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tests.ops.plain_arithmetic import FEW_NUMBERS, Plain
from tests.pairwise import pairwise
from torch import Tensor

from lmhead import IGNORE_INDEX, ArgumentError, ArgumentTypeError, LowRankAdapter, linear_cross_entropy, token_logprobs
from lmhead.losses.cross_entropy import cross_entropy
from lmhead.ops.adapter import adapted
from lmhead.ops.backends import BACKENDS

N, D, V, R = 7, 6, 11, 3
KINDS = ["lora", "dora", "several", "learnt-scale", "dora-learnt-scale", "transposed-up"]
OPTIONS = {
    "plain": {},
    "head": {"softcap": 3.0, "logit_scale": 0.5, "bias": True},
    "loss": {"label_smoothing": 0.1, "z_loss": 1e-2, "softcap": 4.0, "token_weight": torch.rand(N) + 0.1},
    "sum": {"reduction": "sum"},
    "one-row-chunks": {"memory_budget": 1},
}


def leaf(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def draw_adapters(kind: str) -> list[LowRankAdapter]:
    """LoRA's up starts at 0, which would hide faults: here it is drawn."""
    first = LowRankAdapter(down=leaf(R, D, seed=1), up=leaf(V, R, seed=2), scale=0.7)
    if "scale" in kind:
        first = replace(first, scale=torch.tensor(0.7, dtype=torch.float64, requires_grad=True))
    if kind == "transposed-up":  # PEFT's, where head and embedding share their adapter
        first = replace(first, up=leaf(R, V, seed=2).detach().T.requires_grad_())
    if "dora" in kind:
        return [replace(first, magnitude=(leaf(V, seed=3).detach().abs() + 0.5).requires_grad_())]
    if kind == "several":
        return [first, LowRankAdapter(down=leaf(2, D, seed=4), up=leaf(V, 2, seed=5), scale=-1.5)]
    return [first]


def leaves(adapters: list[LowRankAdapter]) -> list[Tensor]:
    return [x for one in adapters for x in (one.down, one.up, one.scale, one.magnitude) if isinstance(x, Tensor)]


def merged(weight: Tensor, adapters: list[LowRankAdapter]) -> Tensor:
    """The dense V x D weight, in its own dtype."""
    weight = weight + sum(one.scale * one.up @ one.down for one in adapters)
    (magnitude,) = {one.magnitude for one in adapters}
    return weight if magnitude is None else (magnitude / weight.norm(dim=1).detach())[:, None] * weight


def logits_of(hidden, weight, adapters, bias=None, softcap=None, logit_scale=1.0):
    logits = logit_scale * F.linear(hidden, merged(weight, adapters), bias)
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)


def given(**options: object) -> tuple[Tensor, Tensor, Tensor, dict]:
    """Hidden states, weight, targets (one is ignored), and the options with a bias where one is wanted."""
    targets = torch.arange(N) % V
    targets[1] = IGNORE_INDEX
    bias = {"bias": leaf(V, seed=8)} if options.get("bias") else {}
    return leaf(N, D, seed=6), leaf(V, D, seed=7), targets, {**options, **bias}


def dense_loss(hidden, weight, targets, adapters, **options):
    of_head = {name: options.pop(name) for name in ("bias", "softcap", "logit_scale") if name in options}
    options.pop("memory_budget", None)
    return cross_entropy(logits_of(hidden, weight, adapters, **of_head), targets, **options)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_loss_and_gradients_are_those_of_the_merged_head(backend, kind, options):
    hidden, weight, targets, options = given(**options)
    adapters = draw_adapters(kind)
    loss = linear_cross_entropy(hidden, weight, targets, adapter=adapters, backend=backend, **options)
    expected = dense_loss(hidden, weight, targets, adapters, **options)
    torch.testing.assert_close(loss, expected)
    every = [hidden, weight, *leaves(adapters), *([options["bias"]] if "bias" in options else [])]
    torch.testing.assert_close(torch.autograd.grad(3 * loss, every), torch.autograd.grad(3 * expected, every))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["lora", "dora", "several"])
def test_rows_apart_and_their_statistics(backend, kind):
    hidden, weight, targets, _ = given()
    adapters = draw_adapters(kind)
    loss, statistics = linear_cross_entropy(
        hidden, weight, targets, adapter=adapters, reduction="none", return_stats=True, backend=backend
    )
    logits = logits_of(hidden, weight, adapters)
    expected = F.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(statistics.lse[2:], logits[2:].logsumexp(-1).detach())
    upstream, every = torch.arange(float(N)), [hidden, weight, *leaves(adapters)]
    torch.testing.assert_close(
        torch.autograd.grad((loss * upstream).sum(), every), torch.autograd.grad((expected * upstream).sum(), every)
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["lora", "dora", "several"])
def test_several_targets_a_row(backend, kind):
    hidden, weight, _, _ = given()
    adapters = draw_adapters(kind)
    targets = (torch.arange(N)[:, None] + torch.arange(3)) % V
    targets[2, 1] = IGNORE_INDEX
    loss = linear_cross_entropy(hidden, weight, targets, adapter=adapters, backend=backend)
    expected = F.cross_entropy(
        logits_of(hidden, weight, adapters).repeat_interleave(3, 0), targets.flatten(), ignore_index=IGNORE_INDEX
    )
    every = [hidden, weight, *leaves(adapters)]
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, every), torch.autograd.grad(expected, every))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["lora", "dora", "several"])
def test_logprobs_are_those_of_the_merged_head(backend, kind):
    hidden, weight, targets, _ = given()
    targets[1] = 0
    adapters = draw_adapters(kind)
    out = token_logprobs(hidden, weight, targets, adapter=adapters, temperature=0.5, entropy=True, backend=backend)
    log_p = (logits_of(hidden, weight, adapters) / 0.5).log_softmax(-1)
    expected = log_p.gather(-1, targets[:, None])[:, 0], -(log_p.exp() * log_p).sum(-1)
    torch.testing.assert_close((out.logprobs, out.entropy), expected)
    every, row = [hidden, weight, *leaves(adapters)], torch.arange(float(N))
    torch.testing.assert_close(
        torch.autograd.grad((row * (out.logprobs + 0.3 * out.entropy)).sum(), every),
        torch.autograd.grad((row * (expected[0] + 0.3 * expected[1])).sum(), every),
    )


@pytest.mark.parametrize("backend", ["chunked", "vocabulary_major"])
@pytest.mark.parametrize("kind", ["lora", "several", "learnt-scale"])
def test_gradcheck(backend, kind):
    """Not of DoRA: its norm is a constant to autograd, but not to a finite difference."""
    hidden, weight, targets, _ = given()
    adapters = draw_adapters(kind)

    def loss(*_: Tensor) -> Tensor:
        return linear_cross_entropy(hidden, weight, targets, adapter=adapters, softcap=3.0, backend=backend)

    assert torch.autograd.gradcheck(loss, (hidden, weight, *leaves(adapters)))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_whatever_is_frozen_the_others_get_the_same_gradients(backend, kind):
    hidden, weight, targets, _ = given()
    adapters = draw_adapters(kind)
    every = [hidden, weight, *leaves(adapters)]
    whole = torch.autograd.grad(linear_cross_entropy(hidden, weight, targets, adapter=adapters), every)
    for trained in itertools.product([False, True], repeat=len(every)):
        for x, trains in zip(every, trained, strict=True):
            x.requires_grad_(trains).grad = None
        loss = linear_cross_entropy(hidden, weight, targets, adapter=adapters, backend=backend)
        assert loss.requires_grad == any(trained)
        if any(trained):
            loss.backward()
        for x, trains, gradient in zip(every, trained, whole, strict=True):
            assert (x.grad is not None) == trains
            if trains:
                torch.testing.assert_close(x.grad, gradient)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("kind", "dropout"), [("lora", 0.0), ("dora", 0.0), ("several", 0.5)])
def test_ignored_rows_may_hold_nan(backend, kind, dropout):
    hidden, weight, targets, _ = given()
    adapters = [replace(one, dropout=dropout) for one in draw_adapters(kind)]
    bad = hidden.detach().clone()
    bad[1] = float("nan")
    results = []
    for states in (hidden, bad.requires_grad_()):
        torch.manual_seed(0)
        loss = linear_cross_entropy(states, weight, targets, adapter=adapters, backend=backend)
        results.append((loss, torch.autograd.grad(loss, [states, weight, *leaves(adapters)])))
    torch.testing.assert_close(*results)
    assert results[1][1][0][1].count_nonzero() == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_scored_gives_zero_gradients(backend):
    hidden, weight, targets, _ = given()
    adapters = draw_adapters("lora")
    loss = linear_cross_entropy(
        hidden, weight, torch.full_like(targets, IGNORE_INDEX), adapter=adapters, backend=backend
    )
    gradients = torch.autograd.grad(loss, [hidden, weight, *leaves(adapters)])
    assert loss == 0
    assert all(gradient.count_nonzero() == 0 for gradient in gradients)


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_adapter_has_its_own_dropout_and_the_head_has_none(backend):
    hidden, weight, targets, _ = given()
    adapters = [replace(one, dropout=p) for one, p in zip(draw_adapters("several"), (0.5, 0.25), strict=True)]
    torch.manual_seed(5)
    loss = linear_cross_entropy(hidden, weight, targets, adapter=adapters, backend=backend)
    torch.manual_seed(5)
    logits = hidden @ weight.T
    for one in adapters:
        logits = logits + one.scale * F.dropout(hidden, one.dropout) @ one.down.T @ one.up.T
    expected = F.cross_entropy(logits, targets)
    every = [hidden, weight, *leaves(adapters)]
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, every), torch.autograd.grad(expected, every))


@pairwise(
    backend=BACKENDS,
    autocast=[False, True],
    head=[torch.float32, torch.bfloat16],
    of_adapter=[torch.float64, torch.float32, torch.bfloat16, torch.float16],
    kind=["lora", "dora"],
)
def test_an_adapter_has_its_own_dtype(backend, autocast, head, of_adapter, kind):
    """As PEFT does it: the first product in the adapter's dtype, and what is added is rounded to the head's."""
    hidden, weight, targets, _ = given()
    (one,) = draw_adapters(kind)
    narrow = [x.detach().to(head).requires_grad_() for x in (hidden, weight)]
    factors = [x.detach().to(of_adapter).requires_grad_() for x in leaves([one])]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        cast = LowRankAdapter(scale=0.7, **dict(zip(("down", "up", "magnitude"), factors, strict=False)))
        loss = linear_cross_entropy(*narrow, targets, adapter=cast, backend=backend)
    rounded = [x.detach().double().requires_grad_() for x in (*narrow, *factors)]
    whole = LowRankAdapter(scale=0.7, **dict(zip(("down", "up", "magnitude"), rounded[2:], strict=False)))
    exact = dense_loss(*rounded[:2], targets, [whole])
    assert loss.dtype == torch.float32
    names = ("d_hidden", "d_weight", "d_down", "d_up", "d_magnitude")[: 2 + len(factors)]

    def gradients(loss, leaves):
        return dict(zip(names, torch.autograd.grad(loss, leaves), strict=True))

    def eager():
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = eager_loss(*narrow, targets, cast)
        return gradients(loss, [*narrow, *factors])

    got, plain = gradients(loss, [*narrow, *factors]), Plain(eager)
    assert [gradient.dtype for gradient in got.values()] == [head, head, *(of_adapter for _ in factors)]
    for name, right in gradients(exact, rounded).items():
        plain.assert_as_exact(name, got[name], right, slack=FEW_NUMBERS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_does_not_round_the_norm(dtype):
    hidden, weight, _, _ = given()
    (one,) = draw_adapters("dora")
    narrow, scored = weight.detach().to(dtype), torch.ones(N, dtype=torch.bool)
    rounded = replace(one, down=one.down.float(), up=one.up.float(), magnitude=one.magnitude.float())
    with torch.autocast("cpu", torch.bfloat16):
        scale = adapted(rounded, hidden.float(), narrow, scored, torch.bfloat16).column_scale
    norm = (narrow.double() + one.scale * one.up @ one.down).norm(dim=1)
    torch.testing.assert_close(scale, (one.magnitude / norm).float(), rtol=1e-5, atol=0)


def eager_loss(hidden: Tensor, weight: Tensor, targets: Tensor, adapter: LowRankAdapter) -> Tensor:
    """Plain torch, with the logits: what PEFT's layers do."""
    logits = F.linear(hidden, weight)
    update = F.linear(F.linear(hidden.to(adapter.down.dtype), adapter.down), adapter.up) * adapter.scale
    logits = (logits + update).to(logits.dtype)
    if adapter.magnitude is not None:
        logits = logits * (adapter.magnitude / merged_norm(weight, adapter)).to(logits.dtype)
    return F.cross_entropy(logits.float(), targets)


@torch.no_grad()
def merged_norm(weight: Tensor, adapter: LowRankAdapter) -> Tensor:
    return (weight.double() + adapter.scale * adapter.up.double() @ adapter.down.double()).norm(dim=1).float()


@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_tensor_of_the_heads_size_is_made_where_the_head_is_frozen(kind, dtype):
    """DoRA's norm takes pieces of 1024 rows. (In 16 bits oneDNN pads the width R of `up` to 128, for its product.)"""
    N, D, V = 24, 512, 8000
    hidden, weight = leaf(N, D, seed=1, dtype=dtype), leaf(V, D, seed=2, dtype=dtype).detach()
    adapter = LowRankAdapter(
        down=leaf(2, D, seed=3, dtype=torch.float32),
        up=leaf(V, 2, seed=4, dtype=torch.float32),
        magnitude=torch.ones(V, requires_grad=True) if kind == "dora" else None,
    )
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        linear_cross_entropy(hidden, weight, torch.arange(N), adapter=adapter, memory_budget=2**20).backward()
    largest = max(event.nbytes() for event in profile.profiler.kineto_results.events() if event.name() == "[memory]")
    assert 0 < largest < V * D * dtype.itemsize // 2


@pytest.mark.parametrize(("kind", "dropout"), [("lora", 0.0), ("dora", 0.0), ("several", 0.5), ("learnt-scale", 0.5)])
def test_compiled_without_a_break(kind, dropout):
    hidden, weight, targets, _ = given()
    adapters = draw_adapters(kind)
    every = [hidden, weight, *leaves(adapters)]

    def loss(hidden: Tensor, weight: Tensor, targets: Tensor, dropout: float) -> Tensor:
        of_call = [replace(one, dropout=dropout) for one in adapters]
        return linear_cross_entropy(hidden, weight, targets, adapter=of_call)

    torch._dynamo.reset()
    torch.manual_seed(0)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")(hidden, weight, targets, dropout)
    torch.manual_seed(0)
    expected = loss(hidden, weight, targets, dropout)
    torch.testing.assert_close(compiled, expected)
    torch.testing.assert_close(torch.autograd.grad(compiled, every), torch.autograd.grad(expected, every))


def test_no_adapter_and_none_of_several_are_the_head_alone():
    hidden, weight, targets, _ = given()
    expected = linear_cross_entropy(hidden, weight, targets)
    assert torch.equal(linear_cross_entropy(hidden, weight, targets, adapter=None), expected)
    assert torch.equal(linear_cross_entropy(hidden, weight, targets, adapter=[]), expected)


def test_an_adapter_that_is_new_changes_nothing():
    """PEFT's start: up is 0, and DoRA's magnitude the norm of the weight's rows."""
    hidden, weight, targets, _ = given()
    new = LowRankAdapter(down=leaf(R, D, seed=1), up=torch.zeros(V, R, dtype=torch.float64), scale=2.0)
    dora = replace(new, magnitude=weight.detach().norm(dim=1))
    expected = linear_cross_entropy(hidden, weight, targets)
    for adapter in (new, dora):
        torch.testing.assert_close(linear_cross_entropy(hidden, weight, targets, adapter=adapter), expected)


def good(**changes: object) -> LowRankAdapter:
    return replace(draw_adapters("lora")[0], **changes)


@pytest.mark.parametrize(
    ("adapter", "error", "message"),
    [
        (5, ArgumentTypeError, "adapter must be a LowRankAdapter or several, got int"),
        (torch.zeros(R, D), ArgumentTypeError, "got Tensor"),
        ([good(), None], ArgumentTypeError, "got NoneType"),
        ("lora", ArgumentTypeError, "got str"),
        (good(down=None), ArgumentTypeError, r"adapter\.down must be a Tensor, got NoneType"),
        (good(down=torch.zeros(R, D + 1)), ArgumentError, r"adapter\.down must be \[R, 6\] with R > 0, got \(3, 7\)"),
        (good(down=torch.zeros(0, D)), ArgumentError, "R > 0"),
        (good(down=torch.zeros(D)), ArgumentError, r"adapter\.down"),
        (good(down=torch.zeros(R, D, dtype=torch.long)), ArgumentError, r"adapter\.down must be floating point"),
        (good(down=torch.zeros(R, D, device="meta")), ArgumentError, r"adapter\.down must be on hidden's device"),
        (good(up=torch.zeros(R, V)), ArgumentError, r"adapter\.up must be \[V, R\] = \[11, 3\], got \(3, 11\)"),
        (good(scale=float("nan")), ArgumentError, r"adapter\.scale must be finite"),
        (good(scale="1"), ArgumentTypeError, r"adapter\.scale must be a number"),
        (good(scale=torch.ones(R)), ArgumentError, r"adapter\.scale must be one number, got shape \(3,\)"),
        (good(dropout=1.0), ArgumentError, r"adapter\.dropout must be in \[0, 1\), got 1\.0"),
        (good(dropout=None), ArgumentTypeError, r"adapter\.dropout must be a number"),
        (good(magnitude=torch.ones(V + 1)), ArgumentError, r"adapter\.magnitude must be \[V\] = \[11\], got \(12,\)"),
        (good(magnitude=1.0), ArgumentTypeError, r"adapter\.magnitude must be a Tensor"),
        (good(magnitude=torch.ones(V), dropout=0.1), ArgumentError, "be 0 with a magnitude"),
        ([good(), good(magnitude=torch.ones(V))], ArgumentError, "adapter must be one where it has a magnitude"),
    ],
)
@pytest.mark.parametrize("call", [linear_cross_entropy, token_logprobs])
def test_what_is_refused(call, adapter, error, message):
    hidden, weight, targets, _ = given()
    with pytest.raises(error, match=message):
        call(hidden, weight, targets, adapter=adapter)
