"""linear_divergence under autograd: the contract's cases, the teacher, gradcheck, opcheck, torch.compile."""

from collections.abc import Iterator
from dataclasses import astuple

import pytest
import torch
from benchmarks.contract.cases import CASES
from benchmarks.contract.modes import compile_fullgraph_dynamic, compile_inductor
from benchmarks.contract.numbers import target_beyond_the_vocabulary_is_refused, target_of_minus_1_is_refused
from benchmarks.contract.subject import Subject
from benchmarks.peers import Loss
from tests.pairwise import pairwise

from lmhead import linear_divergence
from lmhead.ops.sharded.held_rows import ALL_ROWS

OPTIONS = {
    "forward": {"kind": "forward_kl"},
    "reverse": {"kind": "reverse_kl"},
    "jensen-shannon": {"kind": "jensen_shannon", "beta": 0.3},
    "capped": {"kind": "reverse_kl", "temperature": 2.0, "softcap": 3.0, "logit_scale": 0.5, "teacher_softcap": 5.0},
    "total-variation": {"kind": "total_variation", "temperature": 1.5},
    "none": {"reduction": "none"},
    "one-row-chunks": {"kind": "jensen_shannon", "memory_budget": 1},
}
WITHOUT = {target_beyond_the_vocabulary_is_refused, target_of_minus_1_is_refused, compile_inductor}


def grid(rows, columns, step, like):
    """Numbers in [-1.25, 1.25] that no dtype rounds."""
    count = torch.arange(rows, device=like.device)[:, None] * step + 5 * torch.arange(columns, device=like.device)
    return ((count % 11 - 5) / 4).to(like.dtype)


def loss_with(backend: str | None, options: dict) -> Loss:
    """A scalar divergence from a fixed teacher; the targets tell which rows are scored, and weigh them."""

    def loss(hidden, weight, targets):
        token_weight = (targets != -100) * (1 + targets % 3 / 4)
        options_here = {"token_weight": token_weight.float(), "backend": backend, **options}
        teacher = grid(hidden.shape[0], 5, 3, hidden), grid(weight.shape[0], 5, 7, weight)
        if options is OPTIONS["one-row-chunks"] and backend == "reference":
            options_here.pop("memory_budget")
        result = linear_divergence(hidden, weight, *teacher, **options_here)
        rows = torch.arange(hidden.shape[0], dtype=result.dtype, device=hidden.device)
        return (result * (1 + rows / 8)).sum() / 7 if options is OPTIONS["none"] else result

    return loss


def combinations() -> Iterator[object]:
    for name, options in OPTIONS.items():
        for case, run in CASES.items():
            if run in WITHOUT or (run is compile_fullgraph_dynamic and name not in ("forward", "none")):
                continue
            yield pytest.param(options, case, id=f"{name}-{case}")


@pytest.mark.parametrize(("options", "case"), list(combinations()))
def test_contract(options, case):
    CASES[case](Subject(loss=loss_with(None, options), definition=loss_with("reference", options)))
    if case == compile_fullgraph_dynamic.__name__:
        torch._dynamo.reset()


N, D, V, R = 13, 6, 11, 3


def draw(dtype=torch.float32, *, rows=N):
    """hidden, weight, teacher_hidden, teacher_weight; all leaves that ask for a gradient."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(rows, D), (V, D), (rows, 4), (V, 4)]
    return [torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("backend", ["chunked", "reference"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_the_teacher_gets_no_gradient(reduction, backend):
    tensors, biases = draw(), [torch.zeros(V, requires_grad=True) for _ in range(2)]
    loss = linear_divergence(
        *tensors, bias=biases[0], teacher_bias=biases[1], reduction=reduction, backend=backend
    ).sum()
    loss.backward()
    assert all(leaf.grad is not None for leaf in (*tensors[:2], biases[0]))
    assert all(leaf.grad is None for leaf in (*tensors[2:], biases[1]))
    frozen = linear_divergence(*(leaf.detach() for leaf in tensors[:2]), *tensors[2:], backend=backend)
    assert not frozen.requires_grad


@pairwise(
    budget=[None, 1],
    more=[{}, {"reduction": "sum"}, {"divisor": 3}, {"reduction": "none"}],
    options=[OPTIONS[name] for name in ("forward", "reverse", "jensen-shannon", "capped")],
)
def test_gradcheck(options, more, budget):
    hidden, weight, *teacher = draw(torch.float64, rows=5)
    bias, token_weight = torch.randn(V, dtype=torch.float64, requires_grad=True), torch.tensor([1.0, 0, 2, 0.5, 1])

    def function(hidden, weight, bias):
        given = {"bias": bias, "token_weight": token_weight, "memory_budget": budget}
        return linear_divergence(hidden, weight, *teacher, **given, **options, **more)

    assert torch.autograd.gradcheck(function, (hidden, weight, bias))


@pytest.mark.parametrize("trained", [("hidden",), ("weight",), ("bias",), ("hidden", "bias")], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_only_what_is_trained_gets_a_gradient(trained, reduction):
    gradients = []
    for backend in ("chunked", "reference"):
        hidden, weight, *teacher = draw()
        leaves = {"hidden": hidden, "weight": weight, "bias": torch.ones(V)}
        leaves = {name: leaf.detach().requires_grad_(name in trained) for name, leaf in leaves.items()}
        bias = leaves.pop("bias")
        linear_divergence(*leaves.values(), *teacher, bias=bias, reduction=reduction, backend=backend).sum().backward()
        gradients.append([leaf.grad for leaf in (*leaves.values(), bias)])
    for got, expected in zip(*gradients, strict=True):
        assert (got is None) == (expected is None)
        if expected is not None:
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("of_teacher", [torch.float32, torch.bfloat16], ids=str)
def test_autocast_makes_both_products_in_its_dtype(of_teacher):
    hidden, weight, *teacher = draw()
    teacher[1] = teacher[1].detach().to(of_teacher)
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_divergence(hidden, weight, *teacher)
    loss.backward()
    rounded = [tensor.detach().bfloat16() for tensor in (hidden, weight, *teacher)]
    assert loss.dtype == hidden.grad.dtype == weight.grad.dtype == torch.float32
    torch.testing.assert_close(loss.detach(), linear_divergence(*rounded))


def test_a_second_derivative_is_refused_by_name_and_the_reference_has_one():
    hidden, weight, *teacher = draw(torch.float64, rows=4)
    (gradient,) = torch.autograd.grad(linear_divergence(hidden, weight, *teacher), hidden, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"linear_divergence has no second derivative.*backend=\"reference\""):
        gradient.square().sum().backward()

    for name in ("forward", "reverse", "jensen-shannon"):

        def function(hidden, weight, options=OPTIONS[name]):
            return linear_divergence(hidden, weight, *teacher, backend="reference", **options)

        assert torch.autograd.gradgradcheck(function, (hidden, weight))


def test_options_may_be_variables_of_a_compiled_function():
    tensors = draw()

    @torch.compile(fullgraph=True, backend="aot_eager")
    def compiled(temperature):
        return linear_divergence(*tensors, temperature=temperature, kind="jensen_shannon", beta=temperature / 10)

    for temperature in (1.0, 2.0, 0.5):
        expected = linear_divergence(*tensors, temperature=temperature, kind="jensen_shannon", beta=temperature / 10)
        torch.testing.assert_close(compiled(temperature), expected)
    torch._dynamo.reset()


@pytest.mark.parametrize("kind", ["forward_kl", "jensen_shannon"])
def test_the_definition_is_compiled_whole(kind):
    tensors = draw()
    compiled = torch.compile(linear_divergence, fullgraph=True, backend="aot_eager")
    expected = linear_divergence(*tensors, kind=kind, backend="reference")
    torch.testing.assert_close(compiled(*tensors, kind=kind, backend="reference"), expected)
    torch._dynamo.reset()


class TestCustomOps:
    """By torch's own opcheck: schema, fakes, autograd registration, dynamic shapes."""

    STUDENT = (5.0, 0.5, torch.float32, 2**20, *astuple(ALL_ROWS))  # softcap, scale, dtype, memory_budget, shard
    TEACHER = (None, 1.0, torch.float32)  # softcap, logit_scale, compute_dtype

    @pytest.fixture
    def tensors(self):
        """The student's seven, then the teacher's six."""
        torch.manual_seed(0)
        shapes = [(N, D), (V, D), (V,), (N, R), (V, R), (V,)]
        hidden, weight, *others = (torch.randn(*shape, requires_grad=True) for shape in shapes)
        targets = torch.zeros(N, 1, dtype=torch.int64)
        targets[2] = -100
        of_teacher = [(N, 4), (V, 4), (V,), (N, R), (V, R), (V,)]
        return hidden, weight, targets, *others, *(torch.randn(*shape) for shape in of_teacher)

    @pytest.mark.parametrize("per_row", [False, True], ids=["sum", "none"])
    @pytest.mark.parametrize("kind", ["forward_kl", "reverse_kl", "jensen_shannon", "total_variation"])
    def test_the_divergence(self, tensors, kind, per_row):
        coefficient = None if per_row else torch.full((N, 1), 1 / N)
        wanted = [not per_row] * 6
        arguments = (*tensors, coefficient, *self.STUDENT, *self.TEACHER, kind, 0.3, "chunked", wanted)
        torch.library.opcheck(torch.ops.lmhead.divergence.default, arguments)

    def test_the_gradients_alone(self, tensors):
        frozen = [tensor.detach() for tensor in tensors]
        options = (*self.STUDENT, *self.TEACHER, "jensen_shannon", 0.3)
        arguments = (*frozen, torch.ones(N, 1), *options, "chunked", [True] * 6)
        torch.library.opcheck(torch.ops.lmhead.divergence_gradients.default, arguments)
