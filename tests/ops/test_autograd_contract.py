"""The op keeps autograd's contract whole: who needs a gradient, how often, under which of PyTorch's modes."""

import warnings

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lmhead import linear_cross_entropy

OPTIONS = [
    {},
    {"reduction": "none"},
    {"label_smoothing": 0.1, "z_loss": 1e-2, "softcap": 3.0, "logit_scale": 0.5},
]
N, D, V = 13, 6, 11


@pytest.fixture
def drawn(draw):
    return draw(N, D, V, bias=True, ignored=0.2).to(torch.float32)


def upstream_like(loss):
    return torch.linspace(0.5, 2.0, max(loss.numel(), 1)).reshape(loss.shape)


def loss_of(drawn, **options):
    return linear_cross_entropy(drawn.hidden, drawn.weight, drawn.targets, bias=drawn.bias, **options)


def frozen(drawn, *names):
    for name in names:
        getattr(drawn, name).requires_grad_(False)
    return drawn


def assert_same_gradients(drawn, other, names=("hidden", "weight", "bias")):
    for name in names:
        torch.testing.assert_close(getattr(drawn, name).grad, getattr(other, name).grad, msg=name)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(
    "trained", [("hidden",), ("weight",), ("bias",), ("hidden", "bias"), ("hidden", "weight")], ids=str
)
def test_only_what_is_trained_gets_a_gradient(draw, trained, options):
    losses = []
    for backend in ("chunked", "reference"):
        drawn = draw(N, D, V, bias=True, ignored=0.2).to(torch.float32)
        frozen(drawn, *({"hidden", "weight", "bias"} - set(trained)))
        loss = loss_of(drawn, backend=backend, **options)
        loss.backward(upstream_like(loss))
        losses.append(drawn)
    assert_same_gradients(*losses, names=trained)
    for name in {"hidden", "weight", "bias"} - set(trained):
        assert getattr(losses[0], name).grad is None


def test_nothing_trained_gives_a_loss_without_a_graph(drawn):
    assert not loss_of(frozen(drawn, "hidden", "weight", "bias")).requires_grad


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_upstream_gradient_is_multiplied_in(draw, solve, options):
    drawn = draw(N, D, V, bias=True, weights=True, ignored=0.2).to(torch.float64)
    shape = (N,) if options.get("reduction") == "none" else ()
    upstream = -2.5 * torch.ones(shape) if shape == () else torch.linspace(-1, 2, N)
    got = solve(drawn, upstream=upstream, **options)
    expected = solve(drawn, upstream=upstream, backend="reference", **options)
    for name in expected:
        torch.testing.assert_close(got[name], expected[name])


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_second_and_a_third_backward_accumulate(drawn, options):
    loss = loss_of(drawn, **options)
    upstream = upstream_like(loss)
    loss.backward(upstream, retain_graph=True)
    once = {name: getattr(drawn, name).grad.clone() for name in ("hidden", "weight", "bias")}
    loss.backward(3 * upstream, retain_graph=True)
    loss.backward(upstream)
    for name, gradient in once.items():
        torch.testing.assert_close(getattr(drawn, name).grad, 5 * gradient, rtol=1e-5, atol=1e-6)


def test_without_retain_graph_a_second_backward_is_torchs_own_error(drawn):
    loss = loss_of(drawn)
    loss.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()


def test_gradients_accumulate_over_micro_batches(draw):
    drawn = draw(N, D, V, bias=True).to(torch.float64)
    whole = loss_of(drawn, divisor=N)
    expected = torch.autograd.grad(whole, (drawn.hidden, drawn.weight, drawn.bias))
    for rows in (slice(0, 5), slice(5, N)):
        linear_cross_entropy(
            drawn.hidden[rows], drawn.weight, drawn.targets[rows], bias=drawn.bias, divisor=N
        ).backward()
    for name, gradient in zip(("hidden", "weight", "bias"), expected, strict=True):
        torch.testing.assert_close(getattr(drawn, name).grad, gradient)


def test_two_losses_of_one_graph(drawn, draw):
    """An intermediate hidden state that two ops read, and a loss that is used twice."""
    other = draw(N, D, V, bias=True, ignored=0.2).to(torch.float32)
    for x, backend in ((drawn, "chunked"), (other, "reference")):
        middle = x.hidden.tanh()
        first = linear_cross_entropy(middle, x.weight, x.targets, bias=x.bias, backend=backend)
        second = linear_cross_entropy(2 * middle, x.weight, x.targets, softcap=2.0, backend=backend)
        (first * second + first**2).backward()
    assert_same_gradients(drawn, other)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients(drawn, mode):
    expected = loss_of(drawn)
    with mode():
        loss, statistics = loss_of(drawn, return_stats=True)
    assert loss == expected
    assert not loss.requires_grad
    assert statistics.nll.shape == (N,)


@pytest.mark.parametrize("options", [*OPTIONS, {"reduction": "sum"}, {"divisor": 3}], ids=str)
@pytest.mark.parametrize("budget", [None, 1])
def test_gradcheck(draw, options, budget):
    drawn = draw(5, 3, 4, bias=True, weights=True, ignored=0.2).to(torch.float64)

    def function(hidden, weight, bias):
        return linear_cross_entropy(
            hidden,
            weight,
            drawn.targets,
            bias=bias,
            token_weight=drawn.token_weight,
            class_weight=drawn.class_weight,
            memory_budget=budget,
            **options,
        )

    assert torch.autograd.gradcheck(function, (drawn.hidden, drawn.weight, drawn.bias))


class TestCompiled:
    """backend="aot_eager" traces, functionalises and partitions as inductor does, and needs no C compiler."""

    @pytest.fixture(autouse=True)
    def _fresh(self):
        torch._dynamo.reset()
        yield
        torch._dynamo.reset()

    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    def test_one_graph_equal_to_eager(self, draw, options):
        @torch.compile(fullgraph=True, backend="aot_eager")
        def compiled(hidden, weight, targets, bias):
            loss, statistics = linear_cross_entropy(
                hidden * 2, weight, targets, bias=bias, return_stats=True, **options
            )
            return loss * 3, statistics.entropy

        eager, traced = (draw(N, D, V, bias=True, ignored=0.2).to(torch.float32) for _ in range(2))
        loss = linear_cross_entropy(eager.hidden * 2, eager.weight, eager.targets, bias=eager.bias, **options) * 3
        got, entropy = compiled(traced.hidden, traced.weight, traced.targets, traced.bias)
        torch.testing.assert_close(got, loss)
        assert entropy.shape == (N,)
        loss.backward(upstream_like(loss))
        got.backward(upstream_like(got))
        assert_same_gradients(traced, eager)

    def test_the_number_of_rows_may_change(self, draw):
        compiled = torch.compile(linear_cross_entropy, fullgraph=True, backend="aot_eager", dynamic=True)
        for rows in (7, 64, 33, 12):
            stance = "default" if rows == 7 else "fail_on_recompile"
            drawn = draw(rows, D, V).to(torch.float32)
            with torch.compiler.set_stance(stance):
                got = compiled(drawn.hidden, drawn.weight, drawn.targets)
            expected = linear_cross_entropy(drawn.hidden, drawn.weight, drawn.targets)
            torch.testing.assert_close(got, expected)
            got.backward()

    def test_options_may_be_variables(self, drawn):
        @torch.compile(fullgraph=True, backend="aot_eager")
        def compiled(scale):
            return linear_cross_entropy(drawn.hidden, drawn.weight, drawn.targets, logit_scale=scale, z_loss=scale / 10)

        for scale in (1.0, 2.0, 0.5):
            expected = linear_cross_entropy(
                drawn.hidden, drawn.weight, drawn.targets, logit_scale=scale, z_loss=scale / 10
            )
            torch.testing.assert_close(compiled(scale), expected)


@pytest.mark.parametrize("hidden_dtype", [torch.float32, torch.bfloat16], ids=str)
def test_autocast_leaves_float32_weights_float32_gradients(draw, solve, assert_as_good_as_eager, hidden_dtype):
    drawn = draw(40, 16, 33, bias=True)
    exact = solve(drawn.to(torch.float32).to(torch.float64), backend="reference")
    results = []
    for eager in (True, False):
        rounded = drawn.to(torch.float32)
        hidden = rounded.hidden.detach().to(hidden_dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            if eager:
                logits = nn.functional.linear(hidden, rounded.weight, rounded.bias)
                loss = nn.functional.cross_entropy(logits.float(), rounded.targets)
            else:
                loss = linear_cross_entropy(hidden, rounded.weight, rounded.targets, bias=rounded.bias)
        loss.backward()
        results.append([loss.detach(), hidden.grad, rounded.weight.grad, rounded.bias.grad])
    for name, plain, got in zip(("loss", "d_hidden", "d_weight", "d_bias"), *results, strict=True):
        assert got.dtype == (hidden_dtype if name == "d_hidden" else torch.float32)
        assert_as_good_as_eager(got, plain, exact[name], floor=2**-9)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_activation_checkpointing_around_it(drawn, draw, use_reentrant):
    other = draw(N, D, V, bias=True, ignored=0.2).to(torch.float32)

    def block(hidden, weight, bias):
        return linear_cross_entropy(hidden.tanh(), weight, drawn.targets, bias=bias)

    checkpoint(block, drawn.hidden, drawn.weight, drawn.bias, use_reentrant=use_reentrant).backward()
    block(other.hidden, other.weight, other.bias).backward()
    assert_same_gradients(drawn, other)


def test_functional_call(drawn):
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(V, D))

        def forward(self, hidden, targets):
            return linear_cross_entropy(hidden, self.weight, targets)

    head = Head()
    loss = torch.func.functional_call(head, {"weight": drawn.weight}, (drawn.hidden, drawn.targets))
    expected = linear_cross_entropy(drawn.hidden, drawn.weight, drawn.targets)
    assert loss == expected
    loss.backward()
    assert head.weight.grad is None
    assert drawn.weight.grad.ne(0).any()


def test_a_second_derivative_is_refused_by_name(drawn):
    loss = loss_of(drawn)
    (gradient,) = torch.autograd.grad(loss, drawn.hidden, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"no second derivative.*backend=\"reference\""):
        gradient.square().sum().backward()


def test_the_reference_has_a_second_derivative(draw):
    drawn = draw(4, 3, 5).to(torch.float64)

    def function(hidden, weight):
        return linear_cross_entropy(hidden, weight, drawn.targets, backend="reference")

    assert torch.autograd.gradgradcheck(function, (drawn.hidden, drawn.weight))


def test_a_tied_weight_gets_both_of_its_gradients(drawn, draw):
    other = draw(N, D, V, bias=True, ignored=0.2).to(torch.float32)
    ids = torch.arange(N) % V
    for x, backend in ((drawn, "chunked"), (other, "reference")):
        embedded = nn.functional.embedding(ids, x.weight)
        first = linear_cross_entropy(embedded, x.weight, x.targets, backend=backend)
        second = linear_cross_entropy(embedded + x.hidden, x.weight, x.targets, backend=backend)
        (first + 0.3 * second).backward()
    assert_same_gradients(drawn, other, names=("hidden", "weight"))


def test_statistics_carry_no_gradient(drawn):
    _, statistics = loss_of(drawn, return_stats=True)
    assert not any(getattr(statistics, name).requires_grad for name in ("nll", "lse", "entropy", "hit", "scored"))


def test_inputs_are_not_written_to(draw):
    drawn = draw(N, D, V, bias=True, weights=True, ignored=0.2).to(torch.float32)
    before = {name: getattr(drawn, name).detach().clone() for name in ("hidden", "weight", "bias", "targets")}
    linear_cross_entropy(
        drawn.hidden, drawn.weight, drawn.targets, bias=drawn.bias, token_weight=drawn.token_weight, softcap=2.0
    ).backward()
    for name, value in before.items():
        assert torch.equal(getattr(drawn, name).detach(), value)


def test_a_weight_changed_before_the_backward_is_noticed(drawn):
    loss = loss_of(drawn)
    with torch.no_grad():
        drawn.weight.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_gradients_handed_over_are_the_callers_own(drawn):
    """The first backward hands its buffers over: what the caller does to them must not reach the second."""
    loss = loss_of(drawn)
    (first,) = torch.autograd.grad(loss, drawn.weight, retain_graph=True)
    expected = first.clone()
    first.zero_()
    (second,) = torch.autograd.grad(loss, drawn.weight)
    torch.testing.assert_close(second, expected)


def test_deterministic_mode(drawn):
    torch.use_deterministic_algorithms(True)
    try:
        loss_of(drawn).backward()
    finally:
        torch.use_deterministic_algorithms(False)


def test_anomaly_mode(drawn):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.autograd.detect_anomaly():
            loss_of(drawn).backward()
