"""The kernels' edges: blocks, ties, sure targets, targets out of range, rows that are ignored, strangers' memory."""

import math

import pytest
import torch
from tests.ops.plain_arithmetic import SLACK, Plain

from lmhead import ArgumentError, linear_cross_entropy, token_logprobs
from lmhead.ops.problem import Problem
from lmhead.ops.products import mixed_product
from lmhead.ops.row_terms import RowCoefficients, solved_zeros
from lmhead.ops.triton.forms import FORMS
from lmhead.ops.triton.launch import RowKernels
from lmhead.ops.triton.scored_rows import ScoredRows

ALL = {"label_smoothing": 0.1, "z_loss": 1e-2, "softcap": 3.0, "logit_scale": 0.5, "ranks": True}


@pytest.mark.parametrize("options", [{}, ALL], ids=["plain", "all options"])
@pytest.mark.parametrize("V", [1, 15, 17, 4095, 4096, 4097, 8193])
def test_a_vocabulary_around_a_block(draw, solve, kernels_device, V, options):
    drawn = draw(3, 4, V, bias=bool(options)).on(kernels_device).to(torch.float32)
    options = options | ({"top_k": min(5, V)} if options else {})
    got, expected = (solve(drawn, backend=name, **options) for name in ("triton", "reference"))
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], rtol=2e-5, atol=2e-6, msg=name)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_several_targets_of_a_row_some_equal_some_ignored(draw, solve, kernels_device, form, reduction):
    drawn = draw(4, 3, 300, per_row=4).on(kernels_device).to(torch.float32)
    drawn.targets[0] = torch.tensor([5, 299, 5, 5])
    drawn.targets[1] = torch.tensor([-100, 7, 7, 0])
    drawn.targets[2] = -100
    options = {"z_loss": 1e-2, "label_smoothing": 0.1, "ranks": True, "top_k": 3, "reduction": reduction}
    for budget in (None, 1):
        got = solve(drawn, backend=form, memory_budget=budget, **options)
        for name, expected in solve(drawn, backend="reference", **options).items():
            torch.testing.assert_close(got[name], expected, rtol=2e-5, atol=2e-6, msg=name)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("budget", [None, 1])
def test_no_row_and_no_scored_row(draw, solve, kernels_device, form, budget):
    for drawn in (draw(0, 4, 9), draw(5, 4, 9, ignored=1.0)):
        got = solve(drawn.on(kernels_device).to(torch.float32), backend=form, memory_budget=budget)
        assert got["loss"] == 0
        assert got["d_hidden"].eq(0).all()
        assert got["d_weight"].eq(0).all()


@pytest.mark.filterwarnings("ignore:All-NaN slice")  # of the interpreter
@pytest.mark.parametrize("backend", [*FORMS, "chunked", "row_major", "vocabulary_major"])
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("budget", [None, 1])
def test_the_top_tokens_of_a_row_of_nan_are_tokens_whose_log_p_is_nan(draw, kernels_device, backend, k, budget):
    drawn = draw(3, 4, 300).on(kernels_device).to(torch.float32)
    hidden = drawn.hidden.detach().clone()
    hidden[1] = math.nan
    _, made = linear_cross_entropy(
        hidden, drawn.weight, drawn.targets, return_stats=True, top_k=k, backend=backend, memory_budget=budget
    )
    assert made.top_logprobs[1].isnan().all()
    assert not made.top_logprobs[[0, 2]].isnan().any()
    assert ((made.top_ids >= 0) & (made.top_ids < 300)).all()


@pytest.mark.parametrize("form", FORMS)
def test_ignored_rows_may_hold_nan(draw, solve, kernels_device, form):
    drawn = draw(7, 4, 300, ignored=0.5, seed=3).on(kernels_device).to(torch.float32)
    clean = solve(drawn, backend="reference")
    ignored = drawn.targets == -100
    assert 0 < ignored.sum() < 7
    with torch.no_grad():
        drawn.hidden[ignored] = math.nan
    for budget in (None, 1):
        got = solve(drawn, backend=form, memory_budget=budget)
        for name in clean:
            torch.testing.assert_close(got[name], clean[name], rtol=2e-5, atol=2e-6, msg=name)


def test_a_sure_target_keeps_its_digits(kernels_device):
    sure = torch.zeros(8192, 1, device=kernels_device)
    sure[0] = 30
    row = torch.ones(1, 1, device=kernels_device, requires_grad=True)
    loss = linear_cross_entropy(row, sure, torch.tensor([0], device=kernels_device), backend="triton")
    assert loss.item() == pytest.approx(8191 * math.exp(-30), rel=1e-5)
    loss.backward()
    assert row.grad.item() == pytest.approx(-30 * 8191 * math.exp(-30), rel=1e-5)


def test_of_equal_logits_the_first_is_the_hit(kernels_device):
    weight = torch.zeros(5000, 2, device=kernels_device)
    weight[[7, 4500]] = 1.0
    hidden = torch.ones(2, 2, device=kernels_device)
    targets = torch.tensor([7, 4500], device=kernels_device)
    for form in ("triton", "triton_low_memory"):
        _, statistics = linear_cross_entropy(
            hidden, weight, targets, return_stats=True, ranks=True, top_k=3, memory_budget=600_000, backend=form
        )
        assert statistics.top_ids.tolist() == [[7, 4500, 0]] * 2
        assert statistics.hit.tolist() == [True, False]
        assert statistics.rank.tolist() == [0, 0]


@pytest.mark.parametrize("form", ["triton", "triton_low_memory"])
def test_masked_tokens_have_no_probability_and_no_gradient(kernels_device, form):
    """A bias of -inf, over a whole block too: nothing becomes NaN."""
    torch.manual_seed(0)
    hidden, weight = torch.randn(3, 4), torch.randn(9000, 4)
    bias = torch.zeros(9000)
    bias[:4200] = bias[8990:] = -math.inf
    hidden, weight, bias = (tensor.to(kernels_device).requires_grad_() for tensor in (hidden, weight, bias))
    targets = torch.tensor([4200, 5000, 8989], device=kernels_device)
    outcomes = []
    for backend in (form, "reference"):
        out = token_logprobs(hidden, weight, targets, bias=bias, entropy=True, memory_budget=200_000, backend=backend)
        gradients = torch.autograd.grad(out.logprobs.sum() + out.lse.sum(), [hidden, weight])
        outcomes.append((out.logprobs, out.entropy, *gradients))
    for got, expected in zip(*outcomes, strict=True):
        assert got.isfinite().all()
        torch.testing.assert_close(got, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("form", ["triton", "triton_low_memory"])
def test_of_fewer_tokens_than_are_listed_the_masked_ones_come_last_and_in_order(kernels_device, form):
    bias = torch.full((5000,), -math.inf, device=kernels_device)
    bias[[4, 4990]] = 0.0
    hidden, weight = torch.zeros(1, 2, device=kernels_device), torch.zeros(5000, 2, device=kernels_device)
    _, statistics = linear_cross_entropy(
        hidden,
        weight,
        torch.tensor([4], device=kernels_device),
        bias=bias,
        return_stats=True,
        top_k=5,
        memory_budget=600_000,
        backend=form,
    )
    assert statistics.top_ids.tolist() == [[4, 4990, 0, 1, 2]]
    assert statistics.top_logprobs[0, :2].tolist() == pytest.approx([-math.log(2)] * 2)
    assert statistics.top_logprobs[0, 2:].tolist() == [-math.inf] * 3


@pytest.mark.parametrize("target", [9, -1, 2**40, 2**32 + 3])
def test_where_nothing_is_waited_for_a_target_out_of_range_makes_the_loss_nan(draw, solve, kernels_device, target):
    drawn = draw(4, 3, 9).on(kernels_device).to(torch.float32)
    drawn.targets[2] = target
    for budget in (None, 1):
        got = solve(drawn, backend="triton_masked", memory_budget=budget)
        assert got["loss"].isnan()
        assert got["nll"].isnan().tolist() == [False, False, True, False]
    with pytest.raises(ArgumentError, match=f"got {target} at flattened position 2"):
        solve(drawn, backend="triton")


def test_the_scored_rows_come_in_order(kernels_device):
    targets = torch.tensor([[-100, -100], [3, -100], [-100, -100], [-100, 1], [2, 2]], device=kernels_device)
    hidden = torch.zeros(5, 2, device=kernels_device)
    given = Problem(hidden=hidden, weight=hidden, targets=targets, compute_dtype=torch.float32, memory_budget=1)
    dropped, masked = (ScoredRows.of(given, masked=masked) for masked in (False, True))
    assert (dropped.n, dropped.index.tolist(), dropped.scored) == (3, [1, 3, 4], None)
    assert (masked.n, masked.index, masked.scored[:, 0].tolist()) == (5, None, [False, True, False, True, True])


@pytest.mark.parametrize("bias", [False, True], ids=["in passing", "with column sums"])
def test_nothing_is_written_outside_the_rows(kernels_device, bias):
    """Rows before and after, and what lies beyond the width rounded up to 16."""
    torch.manual_seed(0)
    n, V, stride = 3, 37, 64
    memory = torch.full((n + 2, stride), 77.0, device=kernels_device)
    memory[1:-1, :V] = torch.randn(n, V)
    given = Problem(
        hidden=torch.randn(n, 2, device=kernels_device),
        weight=torch.randn(V, 2, device=kernels_device),
        bias=torch.zeros(V, device=kernels_device) if bias else None,
        targets=torch.tensor([[0], [36], [5]], device=kernels_device),
        compute_dtype=torch.float32,
        memory_budget=2**20,
    )
    ones = RowCoefficients(loss=torch.ones(n, 1, device=kernels_device))
    wanted = ("hidden", "bias") if bias else ("hidden",)
    RowKernels(given, None, ones, wanted, solved_zeros(given)).whole_rows(memory[1:-1, :V], 0)
    assert memory[[0, -1]].eq(77).all()
    assert memory[:, 48:].eq(77).all()
    torch.testing.assert_close(memory[1:-1, :V].sum(1), torch.zeros(n, device=kernels_device), atol=1e-6, rtol=0)


@pytest.fixture
def _mixed(monkeypatch, kernels_device):
    """What cuBLAS does, where there is none: 16-bit factors, a float32 sum."""

    def add(total, left, right, *, first):
        product = left.float() @ right.float()
        total.copy_(product if first else total + product)

    if kernels_device == "cpu":
        monkeypatch.setattr(mixed_product, "runs", lambda dtype, device: dtype.itemsize == 2)
        monkeypatch.setattr(mixed_product, "add", add)


@pytest.mark.usefixtures("_mixed")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("weight_dtype", [torch.bfloat16, torch.float32], ids=str)
def test_sums_in_float32_across_chunks(draw, solve, kernels_device, form, weight_dtype):
    """More chunks than one, in the gradient's own memory where that is larger than the budget's."""
    drawn = draw(24, 16, 300, ignored=0.2).on(kernels_device).to(torch.bfloat16)
    if weight_dtype != torch.bfloat16:
        drawn = type(drawn)(
            hidden=drawn.hidden, weight=drawn.weight.detach().float().requires_grad_(), targets=drawn.targets
        )
    exact = solve(drawn.to(torch.float64), backend="reference")

    def under_autocast(**options):
        with torch.autocast(kernels_device, torch.bfloat16, enabled=weight_dtype != torch.bfloat16):
            return solve(drawn, **options)

    plain, got = Plain(lambda: under_autocast(backend="reference")), under_autocast(backend=form, memory_budget=8_000)
    slack = 4 if form == "triton_16bit_sums" else SLACK
    for name in ("loss", "d_hidden", "d_weight"):
        plain.assert_as_exact(name, got[name], exact[name], slack=slack)
