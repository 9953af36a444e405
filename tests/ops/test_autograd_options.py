"""Autograd where it takes more than the loss to see it: bias, row upstreams, statistics, errors by name, opcheck.

The contract itself, case by case and for every back-end, is test_autograd_contract.py.
"""

import pytest
import torch

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

    def test_options_may_be_variables(self, drawn):
        @torch.compile(fullgraph=True, backend="aot_eager")
        def compiled(scale):
            return linear_cross_entropy(drawn.hidden, drawn.weight, drawn.targets, logit_scale=scale, z_loss=scale / 10)

        for scale in (1.0, 2.0, 0.5):
            expected = linear_cross_entropy(
                drawn.hidden, drawn.weight, drawn.targets, logit_scale=scale, z_loss=scale / 10
            )
            torch.testing.assert_close(compiled(scale), expected)


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


def test_statistics_carry_no_gradient(drawn):
    _, statistics = loss_of(drawn, return_stats=True)
    assert not any(
        getattr(statistics, name).requires_grad for name in ("nll", "lse", "entropy", "hit", "max_logprob", "scored")
    )


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
