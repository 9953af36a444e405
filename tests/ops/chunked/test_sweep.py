"""The chunked back-end against the definition: in float64 to rounding, in narrower dtypes as good as plain torch."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from tests.ops.plain_arithmetic import Plain

from lmhead import linear_cross_entropy, token_logprobs
from lmhead.ops.problem import Problem
from lmhead.ops.products.plan import Plan

OPTIONS = [
    {},
    {"label_smoothing": 0.1},
    {"z_loss": 1e-2},
    {"softcap": 3.0},
    {"logit_scale": 0.25},
    {"reduction": "sum"},
    {"divisor": 7.0},
    {"label_smoothing": 0.2, "z_loss": 1e-3, "softcap": 5.0, "logit_scale": 1.5},
]
SHAPES = [(1, 1, 1), (1, 3, 2), (7, 5, 11), (64, 8, 33), (33, 16, 1), (5, 4, 1031)]
TINY = 1  # bytes: a chunk of one row


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_is_the_definition_in_float64(draw, solve, shape, options):
    drawn = draw(*shape, bias=True, weights=True, ignored=0.3)
    got = solve(drawn.to(torch.float64), backend="chunked", **options)
    expected = solve(drawn.to(torch.float64), backend="reference", **options)
    for name, value in expected.items():
        torch.testing.assert_close(
            got[name], value, rtol=1e-10, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("budget", [None, 300_000, TINY])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_as_good_as_full_logits_in_the_same_dtype(draw, solve, options, budget, dtype):
    drawn = draw(70, 24, 1100, bias=True, weights=True, ignored=0.2)
    rounded = drawn.to(dtype)
    exact = solve(rounded.to(torch.float64), backend="reference", **options)
    plain = Plain(lambda: solve(rounded, backend="reference", **options))
    got = solve(rounded, backend="row_major", memory_budget=budget, **options)
    for name in ("loss", "nll", "lse", "entropy", "d_hidden", "d_weight", "d_bias"):
        plain.assert_as_exact(name, got[name], exact[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(512, 32, 257), (256, 64, 2048)], ids=str)
def test_as_good_as_torch_cross_entropy(draw, solve, shape, dtype):
    def by_torch(of, wide):
        loss = F.cross_entropy((of.hidden @ of.weight.T).to(wide), of.targets)
        return dict(zip(("d_hidden", "d_weight"), torch.autograd.grad(loss, (of.hidden, of.weight)), strict=True))

    drawn = draw(*shape).to(dtype)
    plain, got = Plain(lambda: by_torch(drawn, torch.float32)), solve(drawn)
    for name, exact in by_torch(drawn.to(torch.float64), torch.float64).items():
        plain.assert_as_exact(name, got[name], exact)


@pytest.mark.parametrize("backend", ["row_major", "vocabulary_major"])
def test_half_precision_weights_accumulate_over_chunks_in_float32(draw, solve, backend):
    """A bf16 sum over 512 chunks of one row would be wrong by percents (torch 2.13's op is)."""
    drawn = draw(512, 8, 64).to(torch.bfloat16)
    exact = solve(drawn.to(torch.float64), backend="reference")
    plain = Plain(lambda: solve(drawn, backend="reference"))
    got = solve(drawn, backend=backend, memory_budget=TINY)
    for name in ("loss", "d_hidden", "d_weight"):
        plain.assert_as_exact(name, got[name], exact[name])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_does_not_depend_on_the_memory_budget(draw, solve, dtype):
    drawn = draw(50, 12, 1500, bias=True, ignored=0.2).to(dtype)
    whole = solve(drawn, memory_budget=2**30)
    tolerance = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 2e-2}[dtype]
    orders = itertools.product((TINY, 100_000, 400_000), ("row_major", "vocabulary_major"))
    for budget, backend in orders:
        parts = solve(drawn, backend=backend, memory_budget=budget)
        for name, value in whole.items():
            torch.testing.assert_close(parts[name], value, rtol=tolerance, atol=tolerance * 0.01)


def test_few_rows_to_many_chunks_go_by_the_vocabulary():
    def starved(n, mib, dtype):
        hidden, weight = torch.empty(n, 64, dtype=dtype), torch.empty(1, 64, dtype=dtype).expand(32000, 64)
        targets = torch.zeros(n, 1, dtype=torch.int64)
        problem = Problem(hidden=hidden, weight=weight, targets=targets, compute_dtype=dtype, memory_budget=mib * 2**20)
        return Plan.of(problem, n, copies=1).starved

    assert starved(4096, 8, torch.bfloat16)
    assert not starved(4096, 120, torch.bfloat16)
    assert not starved(100, 8, torch.bfloat16)  # one chunk
    assert starved(4096, 8, torch.float32)
    assert not starved(4096, 32, torch.float32)


def test_the_budget_bounds_the_chunk():
    def plan(budget, dtype):
        hidden, weight = torch.empty(4096, 64, dtype=dtype), torch.empty(32000, 64, dtype=dtype)
        problem = Problem(
            hidden=hidden, weight=weight, targets=torch.zeros(4096, 1).long(), compute_dtype=dtype, memory_budget=budget
        )
        return Plan.of(problem, 4096, copies=int(dtype != torch.float32))

    for dtype in (torch.float32, torch.bfloat16):
        for mib in (16, 64, 120):
            chosen = plan(mib * 2**20, dtype)
            logits = chosen.chunk_rows * 32000 * dtype.itemsize
            block = chosen.block_rows * chosen.block_copies * 32000 * 4
            assert logits + block <= mib * 2**20
            assert chosen.chunk_rows * chosen.chunks >= 4096


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_ignored_rows_may_hold_nan_and_change_nothing(draw, solve, dtype):
    drawn = draw(40, 8, 33, bias=True, ignored=0.5).to(dtype)
    ignored = drawn.targets == -100
    clean = solve(drawn)
    with torch.no_grad():
        drawn.hidden[ignored] = math.nan
    for backend in ("chunked", "reference"):
        got = solve(drawn, backend=backend)
        if backend == "chunked":
            assert all(torch.equal(got[name], clean[name]) for name in clean)
        assert got["d_hidden"][ignored].eq(0).all()
        assert all(tensor.isfinite().all() for tensor in got.values())


def test_ignored_rows_are_not_multiplied(draw):
    """Counted, not timed: only scored rows reach the products."""
    drawn = draw(64, 8, 33, ignored=0.5).to(torch.float32)
    scored = int((drawn.targets != -100).sum())
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], with_flops=True) as profiler:
        linear_cross_entropy(drawn.hidden, drawn.weight, drawn.targets).backward()
    flops = sum(event.flops for event in profiler.key_averages() if event.key in ("aten::mm", "aten::addmm_"))
    assert flops == 3 * 2 * scored * 8 * 33


def test_a_token_weight_of_zero_ignores(draw, solve):
    drawn = draw(20, 8, 33).to(torch.float32)
    some = torch.arange(20) % 3 != 0
    by_weight = linear_cross_entropy(drawn.hidden, drawn.weight, drawn.targets, token_weight=some.float())
    by_index = linear_cross_entropy(drawn.hidden, drawn.weight, drawn.targets.where(some, -100))
    assert by_weight == by_index


@pytest.mark.parametrize("backend", ["chunked", "reference"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("N", [0, 5])
def test_nothing_scored_is_a_differentiable_zero(draw, solve, N, reduction, backend):
    drawn = draw(N, 8, 33, bias=True).to(torch.float32)
    drawn.targets.fill_(-100)
    got = solve(drawn, reduction=reduction, backend=backend)
    assert got["loss"] == 0
    for name in ("d_hidden", "d_weight", "d_bias"):
        assert got[name].eq(0).all()
    assert got["d_weight"].shape == (33, 8)


def test_no_rows_with_leading_dimensions():
    hidden = torch.zeros(2, 0, 4, requires_grad=True)
    loss = linear_cross_entropy(hidden, torch.zeros(3, 4), torch.zeros(2, 0, dtype=torch.long), reduction="none")
    assert loss.shape == (2, 0)
    loss.sum().backward()
    assert hidden.grad.shape == (2, 0, 4)


def test_leading_dimensions_are_kept(draw):
    drawn = draw(24, 8, 33)
    hidden, targets = drawn.hidden.view(2, 3, 4, 8), drawn.targets.view(2, 3, 4)
    loss, statistics = linear_cross_entropy(hidden, drawn.weight, targets, reduction="none", return_stats=True)
    flat = linear_cross_entropy(drawn.hidden, drawn.weight, drawn.targets, reduction="none")
    assert loss.shape == statistics.hit.shape == (2, 3, 4)
    assert torch.equal(loss.flatten(), flat)
    single = linear_cross_entropy(drawn.hidden[0], drawn.weight, drawn.targets[0], reduction="none")
    assert single.shape == ()
    torch.testing.assert_close(single, flat[0])


def test_strides_do_not_matter(draw, solve):
    drawn = draw(30, 8, 33)
    plain = solve(drawn.to(torch.float64))
    hidden = torch.empty(8, 60, dtype=torch.float64).T[::2].copy_(drawn.hidden).requires_grad_()
    weight = torch.empty(8, 33, dtype=torch.float64).T.copy_(drawn.weight).requires_grad_()
    targets = drawn.targets.repeat_interleave(3)[::3]
    assert not hidden.is_contiguous()
    assert not weight.is_contiguous()
    assert not targets.is_contiguous()
    strided = type(drawn)(hidden=hidden, weight=weight, targets=targets)
    got = solve(strided)
    for name in plain:
        torch.testing.assert_close(got[name], plain[name])


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8], ids=str)
def test_targets_of_any_integer_type(draw, dtype):
    drawn = draw(10, 8, 33)
    expected = linear_cross_entropy(drawn.hidden, drawn.weight, drawn.targets)
    assert linear_cross_entropy(drawn.hidden, drawn.weight, drawn.targets.to(dtype)) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_tail_is_exact_where_the_probability_rounds_to_one(solve, draw, dtype):
    """A margin of 30 nats over 8191 equal others: 1 - p is 0 in float32, the loss is not."""
    exact = 8191 * math.exp(-30)
    hidden = torch.ones(1, 1, dtype=dtype, requires_grad=True)
    weight = torch.zeros(8192, 1, dtype=dtype)
    weight[5] = 30.0
    weight.requires_grad_()
    loss = linear_cross_entropy(hidden, weight, torch.tensor([5]))
    loss.backward()
    assert loss.item() == pytest.approx(exact, rel=1e-5)
    assert exact == pytest.approx(7.7e-10, rel=0.01)
    rel = 1e-5 if dtype == torch.float32 else 5e-3
    assert weight.grad[5].item() == pytest.approx(-exact, rel=rel)
    assert weight.grad[0].item() == pytest.approx(math.exp(-30), rel=rel)
    assert hidden.grad.item() == pytest.approx(-30 * exact, rel=2 * rel)


def test_a_target_100_nats_behind_keeps_its_loss(solve, draw):
    weight = torch.tensor([[0.0], [200.0], [-300.0]])
    losses = linear_cross_entropy(torch.ones(2, 1), weight, torch.tensor([0, 2]), reduction="none")
    assert losses.tolist() == [200.0, 500.0]


def test_a_bias_of_minus_infinity_masks_a_token(draw, solve):
    drawn = draw(20, 8, 33, bias=True)
    drawn.bias[7] = -math.inf
    drawn.targets[drawn.targets == 7] = 8
    got = solve(drawn.to(torch.float64))
    kept = torch.arange(33) != 7
    without = type(drawn)(
        hidden=drawn.hidden,
        weight=drawn.weight[kept],
        bias=drawn.bias[kept],
        targets=drawn.targets - (drawn.targets > 7).long(),
    )
    expected = solve(without.to(torch.float64))
    for name in ("loss", "nll", "lse", "entropy", "hit", "d_hidden"):
        torch.testing.assert_close(got[name], expected[name])
    torch.testing.assert_close(got["d_weight"][kept], expected["d_weight"])
    assert got["d_weight"][7].eq(0).all()
    assert got["d_bias"][7] == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1, "z_loss": 1e-3}, {"softcap": 5.0}], ids=str)
def test_a_hidden_state_that_is_not_finite_is_never_hidden(draw, solve, options, dtype, value):
    drawn = draw(6, 4, 9).to(dtype)
    with torch.no_grad():
        drawn.hidden[2, 1] = value
    capped = "softcap" in options and math.isinf(value)  # an infinite logit becomes a finite one: tanh(inf) = 1
    assert solve(drawn, **options)["loss"].isfinite() == capped
    per_row = linear_cross_entropy(drawn.hidden, drawn.weight, drawn.targets, reduction="none", **options)
    assert per_row.isfinite().tolist() == [True, True, capped, True, True, True]


@pytest.mark.parametrize("memory_budget", [None, 3000])
def test_a_weight_of_another_half_dtype_than_autocasts_gets_its_gradient(memory_budget):
    torch.manual_seed(0)
    hidden, weight = torch.randn(40, 8), torch.randn(33, 8, dtype=torch.float16)
    targets = torch.randint(33, (40,))
    gradients = []
    for backend in ("chunked", "reference"):
        leaf = weight.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            linear_cross_entropy(hidden, leaf, targets, backend=backend, memory_budget=memory_budget).backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients, rtol=0.05, atol=1e-3)


@pytest.mark.parametrize("backend", ["row_major", "vocabulary_major"])
@pytest.mark.parametrize("divisor", [None, 65536.0, 1e6])
def test_float16_gradients_survive_a_loss_scale(backend, divisor):
    """A GradScaler's 65536 comes after the gradients were made with coefficients of 1 / N or less."""
    torch.manual_seed(0)
    N, D, V, scale = 256, 32, 900, 65536.0
    hidden, weight, targets = torch.randn(N, D).half(), (torch.randn(V, D) * 0.1).half(), torch.randint(V, (N,))

    def gradients(dtype, loss):
        leaves = [tensor.to(dtype).requires_grad_() for tensor in (hidden, weight)]
        made = torch.autograd.grad(loss(*leaves) * scale, leaves)
        return dict(zip(("d_hidden", "d_weight"), made, strict=True))

    def by_torch(hidden, weight):
        logits = (hidden @ weight.T).to(torch.promote_types(hidden.dtype, torch.float32))
        return F.cross_entropy(logits, targets, reduction="sum") / (divisor or N)

    def ours(hidden, weight):
        return linear_cross_entropy(hidden, weight, targets, divisor=divisor, backend=backend)

    plain, got = Plain(lambda: gradients(torch.float16, by_torch)), gradients(torch.float16, ours)
    for name, exact in gradients(torch.float64, by_torch).items():
        plain.assert_as_exact(name, got[name], exact)


def test_the_upstream_gradient_is_not_rounded_to_the_gradients_dtype():
    torch.manual_seed(0)
    hidden = torch.randn(8, 4, dtype=torch.bfloat16, requires_grad=True)
    weight, targets = torch.randn(9, 4, dtype=torch.bfloat16), torch.randint(9, (8,))
    (whole,) = torch.autograd.grad(linear_cross_entropy(hidden, weight, targets), hidden)
    (third,) = torch.autograd.grad(linear_cross_entropy(hidden, weight, targets) / 3, hidden)
    assert torch.equal(third, (whole.float() / 3).to(torch.bfloat16))


def test_of_two_equal_tokens_alone_the_first_is_the_hit():
    weight = torch.tensor([[50.0], [50.0], [0.0]])
    for hidden in (torch.ones(2, 1), torch.ones(2, 1, requires_grad=True)):
        _, statistics = linear_cross_entropy(hidden, weight, torch.tensor([0, 1]), return_stats=True)
        assert statistics.hit.tolist() == [True, False]


def test_margins_between_88_and_103_nats_are_scored():
    """exp(-margin) is a denormal there: others / e_target would be rounded, or infinite."""
    for margin in (87.0, 90.0, 95.0, 100.0, 103.0, 200.0):
        weight = torch.tensor([[margin], [0.0], [0.0]])
        nll = linear_cross_entropy(torch.ones(1, 1, requires_grad=True), weight, torch.tensor([1]))
        assert nll.item() == pytest.approx(margin, rel=1e-6)


class TestSeveralTargets:
    def test_only_the_first_of_tied_targets_is_a_hit(self):
        weight = torch.tensor([[0.0], [50.0], [50.0], [0.0]])
        for targets, hits in (([2, 1], [False, True]), ([1, 2], [True, False]), ([2, 2], [False, False])):
            for hidden in (torch.ones(1, 1), torch.ones(1, 1, requires_grad=True)):
                _, statistics = linear_cross_entropy(hidden, weight, torch.tensor([targets]), return_stats=True)
                assert statistics.hit.tolist() == [hits]

    def test_a_sure_target_among_others_keeps_its_digits(self):
        weight = torch.zeros(8192, 1)
        weight[5] = 30.0
        hidden = torch.ones(1, 1, requires_grad=True)
        targets = torch.tensor([[7, 5, 5, -100]])
        leaf = weight.clone().requires_grad_()
        losses = linear_cross_entropy(hidden, leaf, targets, reduction="none")
        assert losses[0, 1].item() == pytest.approx(8191 * math.exp(-30.0), rel=1e-5)
        (gradient,) = torch.autograd.grad(losses[0, 1], leaf)
        assert gradient[5].item() == pytest.approx(-8191 * math.exp(-30.0), rel=1e-5)
        statistics = linear_cross_entropy(hidden, weight, targets, return_stats=True)[1]
        assert statistics.entropy[0, 0].item() == pytest.approx(8191 * 31 * math.exp(-30.0), rel=1e-3)

    def test_many_of_them_take_no_square_of_memory(self):
        N, V, K = 64, 500, 300
        hidden, weight = torch.randn(N, 4), torch.randn(V, 4)
        targets = torch.randint(V, (N, K))
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            linear_cross_entropy(hidden.requires_grad_(), weight, targets).backward()
        events = profile.profiler.kineto_results.events()
        assert max(event.nbytes() for event in events if event.name() == "[memory]") < N * K * K


def test_the_entropy_of_a_row_whose_target_is_masked_has_a_gradient():
    torch.manual_seed(0)
    hidden, weight = torch.randn(1, 3, requires_grad=True), torch.randn(4, 3)
    bias, targets = torch.tensor([0.0, -math.inf, 1.0, 2.0]), torch.tensor([1])
    gradients = [
        torch.autograd.grad(
            token_logprobs(hidden, weight, targets, bias=bias, entropy=True, backend=backend).entropy.sum(), hidden
        )[0]
        for backend in ("row_major", "vocabulary_major", "reference")
    ]
    assert gradients[2].isfinite().all()
    for gradient in gradients[:2]:
        torch.testing.assert_close(gradient, gradients[2])


def test_class_weights_of_16_bits_are_multiplied_in_the_losss_dtype():
    hidden, weight, targets = torch.zeros(2, 3), torch.zeros(5, 3), torch.tensor([1, 2])
    for value in (300.0, 1e-4):
        token_weight, class_weight = torch.full((2,), value), torch.full((5,), value).half()
        loss = linear_cross_entropy(
            hidden, weight, targets, token_weight=token_weight, class_weight=class_weight, reduction="sum"
        )
        assert loss.item() == pytest.approx(2 * math.log(5) * token_weight[0].item() ** 2, rel=1e-3)
    tiny = torch.full((2,), 1e-50, dtype=torch.float64)
    assert linear_cross_entropy(hidden, weight, targets, token_weight=tiny) == 0  # 0 in float32: an ignored token


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1)], ids=str)
def test_a_divisor_of_one_number_may_have_dimensions(shape):
    hidden, weight, targets = torch.zeros(3, 2), torch.zeros(5, 2), torch.tensor([1, 2, 3])
    loss = linear_cross_entropy(hidden, weight, targets, divisor=torch.full(shape, 6.0))
    assert loss.item() == pytest.approx(math.log(5) / 2)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_a_tangent_is_refused_not_dropped():
    forward_ad = torch.autograd.forward_ad
    with forward_ad.dual_level():
        hidden = forward_ad.make_dual(torch.randn(3, 2), torch.randn(3, 2))
        with pytest.raises(NotImplementedError, match="forward-mode"):
            linear_cross_entropy(hidden, torch.randn(5, 2), torch.tensor([1, 2, 3]))
        linear_cross_entropy(hidden, torch.randn(5, 2), torch.tensor([1, 2, 3]), backend="reference")
