"""linear_divergence: numbers, reductions, memory. Autograd: test_autograd.py."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tests.ops.plain_arithmetic import FEW_NUMBERS, Plain
from tests.pairwise import pairwise

from lmhead import LowRankAdapter, linear_divergence, release_workspace
from lmhead.ops.backends import BACKENDS
from lmhead.ops.divergence import sweep as divergence_sweep
from lmhead.ops.divergence.problem import DivergenceProblem
from lmhead.ops.products import workspace

DIVERGENCE_BACKENDS = [
    name for name, one in BACKENDS.items() if DivergenceProblem in one.sweeps or DivergenceProblem in one.definitions
]
KINDS = [
    {"kind": "forward_kl"},
    {"kind": "reverse_kl"},
    {"kind": "jensen_shannon"},
    {"kind": "jensen_shannon", "beta": 0.9},
    {"kind": "total_variation"},
]
OF_SECOND_ORDER = KINDS[:-1]  # in the difference of the two distributions
OPTIONS = [
    {},
    {"temperature": 2.5},
    {"softcap": 3.0, "teacher_softcap": 5.0, "teacher_logit_scale": 0.5},
    {"logit_scale": -0.5, "temperature": 0.7, "reduction": "sum"},
]
TINY = 1  # bytes: one row at a time
STUDENT, TEACHER = ("hidden", "weight", "bias"), ("teacher_hidden", "teacher_weight", "teacher_bias")


def draw_two(N, D, V, *, of_teacher=None, bias=True, weights=True, ignored=0.2, seed=0):
    """Float64 arguments of a student of width D and a teacher of width `of_teacher`."""
    generator = torch.Generator().manual_seed(seed)
    of_teacher = D + 3 if of_teacher is None else of_teacher

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "hidden": normal(N, D),
        "weight": normal(V, D) * 2 / D**0.5,
        "bias": normal(V) if bias else None,
        "teacher_hidden": normal(N, of_teacher),
        "teacher_weight": normal(V, of_teacher) * 2 / of_teacher**0.5,
        "teacher_bias": normal(V) if bias else None,
        "token_weight": torch.rand(N, generator=generator).masked_fill(torch.rand(N, generator=generator) < ignored, 0)
        if weights
        else None,
    }


def in_dtype(arguments, dtype, of_teacher=None):
    """Rounded; the student's tensors as new leaves."""
    rounded = dict(arguments)
    for name in STUDENT + TEACHER:
        if rounded[name] is not None:
            to = dtype if name in STUDENT else of_teacher or dtype
            rounded[name] = rounded[name].detach().to(to, copy=True).requires_grad_(name in STUDENT)
    return rounded


def solve_two(arguments, **options):
    """The loss and the student's gradients, by name."""
    loss = linear_divergence(**arguments, **options)
    leaves = {name: arguments[name] for name in STUDENT if arguments[name] is not None}
    upstream = torch.linspace(0.5, 2, max(loss.numel(), 1), dtype=loss.dtype)[: loss.numel()].reshape(loss.shape)
    gradients = torch.autograd.grad(loss, list(leaves.values()), upstream)
    return {"loss": loss.detach()} | {f"d_{name}": d for name, d in zip(leaves, gradients, strict=True)}


def assert_equal_within_rounding(got, expected):
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-9, atol=1e-12, msg=lambda text, n=name: f"{n}: {text}")


class TestTheDefinition:
    """backend="reference", against torch's own functions and against numbers."""

    def test_is_torchs_kl_and_the_mixture_written_out(self):
        two = in_dtype(draw_two(7, 5, 11, weights=False), torch.float64)
        log_p = ((two["hidden"] @ two["weight"].T + two["bias"]) / 1.5).log_softmax(-1)
        log_q = ((two["teacher_hidden"] @ two["teacher_weight"].T + two["teacher_bias"]) / 1.5).log_softmax(-1)
        m = 0.3 * log_q.exp() + 0.7 * log_p.exp()
        forward, reverse, to_m, from_m = (
            F.kl_div(a, b, reduction="none", log_target=True).sum(-1)
            for a, b in ((log_p, log_q), (log_q, log_p), (m.log(), log_q), (m.log(), log_p))
        )
        expected = {"forward_kl": forward, "reverse_kl": reverse, "jensen_shannon": 0.3 * to_m + 0.7 * from_m}
        expected["total_variation"] = 1 - torch.minimum(log_p.exp(), log_q.exp()).sum(-1)
        for kind, rows in expected.items():
            beta = 0.3 if kind == "jensen_shannon" else None
            got = linear_divergence(**two, kind=kind, beta=beta, temperature=1.5, reduction="none", backend="reference")
            torch.testing.assert_close(got, rows)

    def test_of_two_coins(self):
        student, teacher = torch.tensor([[0.0], [0.0]]), torch.tensor([[math.log(3)], [0.0]])  # 1/2, 1/2; 3/4, 1/4
        by_hand = {
            "forward_kl": 0.75 * math.log(1.5) + 0.25 * math.log(0.5),
            "reverse_kl": 0.5 * math.log(2 / 3) + 0.5 * math.log(2),
            "total_variation": 0.25,
        }
        for kind, expected in by_hand.items():
            for backend in DIVERGENCE_BACKENDS:
                got = linear_divergence(
                    torch.ones(1, 1), student, torch.ones(1, 1), teacher, kind=kind, backend=backend
                )
                assert got.item() == pytest.approx(expected, rel=1e-6)

    def test_jensen_shannon_of_strangers_is_log_2(self):
        student, teacher = torch.tensor([[90.0], [0.0]]), torch.tensor([[0.0], [90.0]])
        one = torch.ones(1, 1)
        for backend in DIVERGENCE_BACKENDS:
            got = linear_divergence(one, student, one, teacher, kind="jensen_shannon", backend=backend)
            assert got.item() == pytest.approx(math.log(2), rel=1e-6)


@pytest.mark.parametrize("budget", [None, TINY, 20_000])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_is_the_definition_in_float64(kind, options, budget):
    for shape in [(1, 1, 1), (7, 5, 11), (33, 16, 1), (5, 4, 1031)]:
        two = in_dtype(draw_two(*shape), torch.float64)
        expected = solve_two(two, backend="reference", **kind, **options)
        assert_equal_within_rounding(solve_two(two, memory_budget=budget, **kind, **options), expected)


@given(data=st.data())
def test_agrees_with_the_float64_definition_whatever_is_drawn(data):
    def pick(*values):
        return data.draw(st.sampled_from(values))

    N, D, V = (data.draw(st.integers(low, high)) for low, high in ((0, 30), (1, 12), (1, 70)))
    drawing = {"bias": pick(True, False), "weights": pick(True, False), "ignored": pick(0.0, 0.4, 1.0)}
    drawn = draw_two(N, D, V, of_teacher=pick(1, 5, 12), seed=data.draw(st.integers(0, 999)), **drawing)
    dtype, of_teacher = pick(torch.float64, torch.float32), pick(torch.float64, torch.float32, torch.bfloat16)
    two = in_dtype(drawn, dtype, of_teacher)
    options = {
        **pick(*KINDS),
        "temperature": pick(1.0, 0.5, 4.0),
        "softcap": pick(None, 2.0, 30.0),
        "logit_scale": pick(1.0, -1.5),
        "teacher_softcap": pick(None, 5.0),
        "teacher_logit_scale": pick(1.0, 0.25),
        "reduction": pick("mean", "sum", "none"),
    }
    # the teacher stays in its dtype: the rounding of its products is no error of the student's
    exact = solve_two(in_dtype(two, torch.float64, of_teacher), backend="reference", **options)
    plain = Plain(lambda: solve_two(two, backend="reference", **options))
    strided = dict(two)
    for name in ("hidden", "weight", "teacher_hidden", "teacher_weight"):
        strided[name] = with_stride(two[name].detach(), pick(0, 1, 2)).requires_grad_(name in STUDENT)
    got = solve_two(strided, memory_budget=pick(None, TINY, 10_000), **options)
    for name, value in exact.items():
        if dtype == of_teacher == torch.float64:
            torch.testing.assert_close(got[name], value, rtol=1e-9, atol=1e-9)
        else:
            plain.assert_as_exact(name, got[name], value, slack=FEW_NUMBERS)


def with_stride(tensor, stride):
    """The same numbers, every `stride`-th of a larger tensor along each dimension, or transposed for stride 0."""
    if stride == 0:
        return tensor.t().contiguous().t()
    larger = torch.full([size * stride for size in tensor.shape], 77, dtype=tensor.dtype)
    return larger[tuple(slice(None, None, stride) for _ in tensor.shape)].copy_(tensor)


@pairwise(dtype=[torch.float32, torch.bfloat16], budget=[None, 150_000, TINY], options=OPTIONS, kind=KINDS)
def test_as_good_as_full_logits_in_the_same_dtype(kind, options, budget, dtype):
    two = in_dtype(draw_two(70, 24, 1100), dtype)
    exact = solve_two(in_dtype(two, torch.float64), backend="reference", **kind, **options)
    plain = Plain(lambda: solve_two(two, backend="reference", **kind, **options))
    got = solve_two(two, memory_budget=budget, **kind, **options)
    for name, value in exact.items():
        plain.assert_as_exact(name, got[name], value)


@pytest.mark.parametrize("kind", OF_SECOND_ORDER, ids=str)
def test_close_distributions_keep_digits_that_plain_torch_loses(kind):
    drawn = draw_two(64, 32, 2000, bias=False, weights=False)
    noise = torch.randn(64, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    drawn |= {"teacher_hidden": drawn["hidden"] + 1e-4 * noise, "teacher_weight": drawn["weight"]}
    two = in_dtype(drawn, torch.float32)
    rows = {"reduction": "none", **kind}
    exact = linear_divergence(**in_dtype(two, torch.float64), backend="reference", **rows).detach()
    got, eager = (linear_divergence(**two, backend=name, **rows).detach() for name in DIVERGENCE_BACKENDS)
    assert (got >= 0).all()
    torch.testing.assert_close(got.double(), exact, rtol=0.01, atol=0)
    assert ((eager - exact) / exact).abs().median() > 0.1


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_a_model_does_not_diverge_from_itself(kind, dtype):
    two = in_dtype(draw_two(20, 8, 33, of_teacher=8), dtype)
    two |= {teacher: two[student].detach() for student, teacher in zip(STUDENT, TEACHER, strict=True)}
    solution = solve_two(two, **kind)
    assert solution["loss"] == 0
    assert all(solution[f"d_{name}"].abs().max() < 1e-6 for name in STUDENT)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_two_sure_models_keep_the_tail_of_each(kind):
    """Margins of 30 and 28 nats over 8191 others: each largest probability rounds to 1 in float32."""
    student, teacher = torch.zeros(8192, 1), torch.zeros(8192, 1)
    student[5], teacher[5] = 30.0, 28.0
    two = {"hidden": torch.ones(1, 1), "weight": student, "bias": None}
    two |= {"teacher_hidden": torch.ones(1, 1), "teacher_weight": teacher, "teacher_bias": None}
    got = solve_two(in_dtype(two, torch.float32), **kind)
    exact = solve_two(in_dtype(two, torch.float64), backend="chunked", **kind)
    for name, value in exact.items():
        torch.testing.assert_close(got[name].double(), value, rtol=1e-4, atol=0)
    assert exact["d_weight"][5].abs() > 1e-12
    definition = solve_two(in_dtype(two, torch.float64), backend="reference", **kind)["loss"]
    torch.testing.assert_close(exact["loss"], definition, rtol=1e-3, atol=0)  # float64 has lost digits there itself


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("backend", DIVERGENCE_BACKENDS)
def test_a_token_that_both_mask_is_as_if_it_were_not(backend, kind):
    two = draw_two(10, 4, 9)
    two["bias"][3] = two["teacher_bias"][3] = -math.inf
    kept = torch.arange(9) != 3
    without = two | {name: two[name][kept] for name in ("weight", "bias", "teacher_weight", "teacher_bias")}
    got = solve_two(in_dtype(two, torch.float64), backend=backend, **kind)
    expected = solve_two(in_dtype(without, torch.float64), backend=backend, **kind)
    for name in ("d_weight", "d_bias"):
        assert got[name][3].eq(0).all()
        got[name] = got[name][kept]
    assert_equal_within_rounding(got, expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("backend", DIVERGENCE_BACKENDS)
@pytest.mark.parametrize("masked", ["bias", "teacher_bias"])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_token_that_one_masks_makes_one_of_the_two_kl_infinite(kind, masked, backend, dtype):
    two = draw_two(10, 4, 9, weights=False)
    two[masked][3] = -math.inf
    rows = linear_divergence(**in_dtype(two, dtype), backend=backend, reduction="none", **kind)
    infinite = (kind["kind"], masked) in {("forward_kl", "bias"), ("reverse_kl", "teacher_bias")}
    assert rows.isposinf().all() if infinite else rows.isfinite().all()
    if not infinite:
        solution = solve_two(in_dtype(two, dtype), backend=backend, **kind)
        assert all(value.isfinite().all() for value in solution.values())


@pytest.mark.parametrize("where", ["hidden", "teacher_hidden", "teacher_weight"])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_nan_is_never_hidden(kind, where):
    two = in_dtype(draw_two(6, 4, 9, weights=False), torch.float32)
    two[where] = two[where].detach().clone()
    two[where][2, 1] = math.nan
    rows = linear_divergence(**two, reduction="none", **kind)
    assert rows.isnan().tolist() == [where == "teacher_weight" or row == 2 for row in range(6)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_ignored_rows_may_hold_nan_in_either_model_and_change_nothing(kind, dtype):
    two = in_dtype(draw_two(40, 8, 33, ignored=0.5), dtype)
    ignored = two["token_weight"] == 0
    clean = {backend: solve_two(two, backend=backend, **kind) for backend in DIVERGENCE_BACKENDS}
    with torch.no_grad():
        two["hidden"][ignored] = two["teacher_hidden"][ignored] = math.nan
    for backend, expected in clean.items():
        got = solve_two(two, backend=backend, **kind)
        assert all(torch.equal(got[name], expected[name]) for name in expected)
        assert got["d_hidden"][ignored].eq(0).all()


def test_ignored_rows_are_not_multiplied():
    two = in_dtype(draw_two(64, 8, 33, ignored=0.5, bias=False), torch.float32)
    scored = int((two["token_weight"] != 0).sum())
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], with_flops=True) as profiler:
        linear_divergence(**two).backward()
    flops = sum(event.flops for event in profiler.key_averages() if event.key in ("aten::mm", "aten::addmm_"))
    assert flops == 2 * scored * 33 * (3 * 8 + 11)


@pytest.mark.parametrize(
    "dtypes", [(torch.float32,) * 2, (torch.bfloat16,) * 2, (torch.bfloat16, torch.float32)], ids=str
)
@pytest.mark.parametrize("budget", [2**20, 2**22])
def test_the_budget_bounds_all_buffers_and_what_is_kept(monkeypatch, budget, dtypes):
    taken = []

    def recorded(name, shape, dtype, device):
        taken.append(shape[0] * workspace.padded_columns(shape[1], dtype) * dtype.itemsize)
        return workspace.buffer(name, shape, dtype, device)

    monkeypatch.setattr(divergence_sweep, "buffer", recorded)
    release_workspace()
    two = in_dtype(draw_two(1200, 8, 2000), *dtypes)
    solve_two(two, memory_budget=budget, softcap=5.0)
    assert 0.5 * budget < sum(taken) <= budget
    assert sum(kept.numel() * kept.itemsize for kept in workspace._KEPT.buffers.values()) <= budget
    release_workspace()


class TestReductions:
    """As linear_cross_entropy's."""

    def test_token_weights_and_the_divisor(self):
        two = in_dtype(draw_two(12, 4, 9), torch.float64)
        weights = two.pop("token_weight")
        for backend in DIVERGENCE_BACKENDS:
            rows = linear_divergence(**two, reduction="none", backend=backend) * weights
            for options, expected in [
                ({"reduction": "none"}, rows),
                ({"reduction": "sum"}, rows.sum()),
                ({}, rows.sum() / weights.sum()),
                ({"divisor": 5}, rows.sum() / 5),
                ({"divisor": torch.tensor([2.5])}, rows.sum() / 2.5),
            ]:
                got = linear_divergence(**two, token_weight=weights, backend=backend, **options)
                torch.testing.assert_close(got, expected, check_dtype=False)

    @pytest.mark.parametrize("backend", DIVERGENCE_BACKENDS)
    @pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
    @pytest.mark.parametrize("N", [0, 5])
    def test_nothing_scored_is_a_differentiable_zero(self, N, reduction, backend):
        two = in_dtype(draw_two(N, 8, 33, ignored=1.0), torch.float32)
        got = solve_two(two, reduction=reduction, backend=backend)
        assert got["loss"].eq(0).all()
        assert all(got[f"d_{name}"].eq(0).all() and got[f"d_{name}"].shape == two[name].shape for name in STUDENT)

    def test_a_divisor_of_zero_where_no_rank_scores_anything(self):
        two = in_dtype(draw_two(5, 8, 33, ignored=1.0), torch.float32)
        assert linear_divergence(**two, divisor=torch.tensor(0.0)) == 0

    def test_leading_dimensions_are_kept(self):
        two = in_dtype(draw_two(24, 8, 33), torch.float32)
        flat = linear_divergence(**two, reduction="none")
        shaped = {name: two[name].reshape(2, 3, 4, -1) for name in ("hidden", "teacher_hidden")}
        shaped["token_weight"] = two["token_weight"].reshape(2, 3, 4)
        assert torch.equal(linear_divergence(**two | shaped, reduction="none"), flat.view(2, 3, 4))
        single = {name: two[name][1] for name in ("hidden", "teacher_hidden", "token_weight")}
        assert linear_divergence(**two | single, reduction="none").shape == ()


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_an_adapter_of_the_student_is_trained(kind, dora):
    two = in_dtype(draw_two(12, 6, 17), torch.float64)
    generator = torch.Generator().manual_seed(2)
    shapes = {"down": (3, 6), "up": (17, 3), **({"magnitude": (17,)} if dora else {})}
    parts = {
        name: torch.rand(*s, generator=generator, dtype=torch.float64).requires_grad_() for name, s in shapes.items()
    }
    results = []
    for backend in DIVERGENCE_BACKENDS:
        loss = linear_divergence(**two, adapter=LowRankAdapter(**parts, scale=0.5), backend=backend, **kind)
        results.append([loss, *torch.autograd.grad(loss, [two["hidden"], two["weight"], *parts.values()])])
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("backend", DIVERGENCE_BACKENDS)
def test_an_adapter_of_the_teacher_is_a_part_of_its_weight_and_gets_no_gradient(backend, dora):
    two = in_dtype(draw_two(12, 6, 17), torch.float64)
    generator = torch.Generator().manual_seed(2)
    down, up, magnitude = (
        torch.rand(*shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in ((3, 9), (17, 3), (17,))
    )
    merged = two["teacher_weight"] + 0.5 * (up @ down).detach()
    if dora:
        merged = merged * (magnitude.detach() / merged.norm(dim=1))[:, None]
    adapter = LowRankAdapter(down=down, up=up, scale=0.5, magnitude=magnitude if dora else None)
    got = solve_two(two, teacher_adapter=adapter, backend=backend)
    assert_equal_within_rounding(got, solve_two(two | {"teacher_weight": merged}, backend=backend))
    loss = linear_divergence(**two, teacher_adapter=adapter, backend=backend)
    assert torch.autograd.grad(loss, [down, up], allow_unused=True) == (None, None)
