"""Whatever is drawn (shapes, strides, dtypes, options, budgets), the op agrees with the float64 definition.

A few hundred problems in the suite, more than 10,000 with `--hypothesis-profile nightly`.
"""

import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.ops.plain_arithmetic import FEW_NUMBERS, Plain

from lmhead import LowRankAdapter, linear_cross_entropy, token_logprobs
from lmhead.ops.triton.forms import FORMS

# float16 is left to the nightly profile of a machine that has it in hardware: here its products are emulated
DTYPES = [torch.float64, torch.float32, torch.bfloat16]
BACKENDS = ["chunked", "row_major", "vocabulary_major"]
BUDGETS = [None, 1, 10_000, 200_000]
KERNELS = {  # in Triton's interpreter a row takes milliseconds: few rows; 4097 is a block of columns and one more
    "dtypes": [torch.float32, torch.bfloat16],
    "backends": list(FORMS),
    "most": (4, 9, 40),
    "vocabularies": [300, 300, 4097],
}
LEAVES = ("hidden", "weight", "bias", "down", "up", "magnitude")


def strided(tensor, stride):
    """The same numbers, every `stride`-th of a larger tensor along each dimension, or transposed for stride 0."""
    if stride == 0 and tensor.dim() == 2:
        return tensor.t().contiguous().t()
    larger = tensor.new_full([size * max(stride, 1) for size in tensor.shape], 77)
    view = larger[tuple(slice(None, None, max(stride, 1)) for _ in tensor.shape)]
    return view.copy_(tensor)


@st.composite
def drawings(draw, *, dtypes=DTYPES, backends=BACKENDS, most=(40, 20, 70), vocabularies=(1023, 1025)):
    return {
        "shape": (
            draw(st.integers(0, most[0])),
            draw(st.integers(1, most[1])),
            draw(st.one_of(st.integers(1, most[2]), st.sampled_from(vocabularies))),
        ),
        "drawing": {
            "bias": draw(st.booleans()),
            "weights": draw(st.booleans()),
            "ignored": draw(st.sampled_from([0.0, 0.3, 1.0])),
            "seed": draw(st.integers(0, 1000)),
            "per_row": draw(st.sampled_from([None, None, 1, 3])),
            "adapter": draw(st.sampled_from([None, None, "lora", "dora"])),
        },
        "dtype": draw(st.sampled_from(dtypes)),
        "strides": draw(st.tuples(*[st.integers(0, 2)] * 3)),
        "trained": draw(st.sets(st.sampled_from(LEAVES), min_size=1)),
        "backend": draw(st.sampled_from(backends)),
        "budget": draw(st.sampled_from(BUDGETS)),
    }


@st.composite
def problems(draw, **among):
    reduction = draw(st.sampled_from(["mean", "sum", "none"]))
    options = {
        "label_smoothing": draw(st.sampled_from([0.0, 0.1, 0.9])),
        "z_loss": draw(st.sampled_from([0.0, 1e-2])),
        "softcap": draw(st.sampled_from([None, 2.0, 30.0])),
        "logit_scale": draw(st.sampled_from([1.0, 0.25, -1.5])),
        "reduction": reduction,
        "divisor": draw(st.sampled_from([None, 3.0])) if reduction == "mean" else None,
        "ranks": draw(st.booleans()),
    }
    drawn = draw(drawings(**among))
    options["top_k"] = draw(st.sampled_from([None, None, 1, min(3, drawn["shape"][2]), min(9, drawn["shape"][2])]))
    return drawn | {"options": options}


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Problems this small are slower on two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def variant(drawn, problem):
    """(the same numbers under the drawn strides, with the drawn leaves trained; their names)."""
    tensors = {name: getattr(drawn, name) for name in LEAVES}
    for name, stride in zip(("hidden", "weight"), problem["strides"], strict=False):
        tensors[name] = strided(tensors[name].detach(), stride)
    trained = [name for name in LEAVES if name in problem["trained"] and tensors[name] is not None] or ["hidden"]
    for name, tensor in tensors.items():
        if tensor is not None:
            tensors[name] = tensor.detach().requires_grad_(name in trained)
    targets = strided(drawn.targets, problem["strides"][2])
    other = type(drawn)(**tensors, targets=targets, token_weight=drawn.token_weight, class_weight=drawn.class_weight)
    return other, trained


@settings(max_examples=3 * settings.default.max_examples)
@given(problem=problems())
def test_agrees_with_the_float64_definition(draw, solve, problem):
    agrees(draw, solve, problem)


@settings(max_examples=settings.default.max_examples // 4)
@given(problem=problems(**KERNELS))
def test_the_kernels_agree_with_the_float64_definition(draw, solve, kernels_device, problem):
    agrees(draw, solve, problem, kernels_device)


def agrees(draw, solve, problem, device="cpu"):
    dtype, options, budget = problem["dtype"], problem["options"], problem["budget"]
    drawn = draw(*problem["shape"], **problem["drawing"]).on(device).to(dtype)
    event(f"{dtype}, {problem['backend']}")
    upstream = upstream_of(drawn, options)
    exact = solve(drawn.to(torch.float64), backend="reference", upstream=upstream, **options)
    plain = Plain(lambda: solve(drawn, backend="reference", upstream=upstream, **options))
    other, trained = variant(drawn, problem)
    got = solve(other, backend=problem["backend"], upstream=upstream, memory_budget=budget, **options)
    for name in ("loss", "nll", "lse", "entropy", "max_logprob", *(f"d_{name}" for name in trained)):
        check(name, got[name], plain, exact[name], dtype)
    assert torch.equal(got["scored"], exact["scored"])
    if dtype == torch.float64:
        assert torch.equal(got["hit"], exact["hit"])
        assert not options["ranks"] or torch.equal(got["rank"], exact["rank"])
    tops_agree(got, plain, exact, dtype)


def tops_agree(got, plain, exact, dtype):
    if exact.get("top_ids") is None:
        return
    check("top_logprobs", got["top_logprobs"], plain, exact["top_logprobs"], dtype)
    if dtype == torch.float64:
        assert torch.equal(got["top_ids"], exact["top_ids"])


@settings(max_examples=settings.default.max_examples)
@given(problem=problems())
def test_without_gradients_it_agrees_too(draw, problem):
    """No gradient wanted is another algorithm: a scan of the vocabulary."""
    agrees_without_gradients(draw, problem)


@settings(max_examples=settings.default.max_examples // 8)
@given(problem=problems(**KERNELS))
def test_without_gradients_the_kernels_agree_too(draw, kernels_device, problem):
    agrees_without_gradients(draw, problem, kernels_device)


def agrees_without_gradients(draw, problem, device="cpu"):
    dtype, options = problem["dtype"], problem["options"]
    drawn = draw(*problem["shape"], **problem["drawing"]).on(device).to(dtype)
    exact = evaluate(drawn.to(torch.float64), backend="reference", **options)
    plain = Plain(lambda: evaluate(drawn, backend="reference", **options))
    other, _ = variant(drawn, problem)
    got = evaluate(other, backend=problem["backend"], memory_budget=problem["budget"], **options)
    for name in ("loss", "nll", "lse", "entropy", "max_logprob"):
        check(name, got[name], plain, exact[name], dtype)
    if dtype == torch.float64:
        assert torch.equal(got["hit"], exact["hit"])
    tops_agree(got, plain, exact, dtype)


@torch.no_grad()
def evaluate(drawn, **options):
    loss, statistics = linear_cross_entropy(
        drawn.hidden,
        drawn.weight,
        drawn.targets,
        bias=drawn.bias,
        adapter=drawn.adapter,
        token_weight=drawn.token_weight,
        class_weight=drawn.class_weight,
        return_stats=True,
        **options,
    )
    names = ("nll", "lse", "entropy", "hit", "max_logprob", *(("top_ids", "top_logprobs") if options["top_k"] else ()))
    return {"loss": loss} | {name: getattr(statistics, name) for name in names}


SCORING = {
    "entropy": st.booleans(),
    "temperature": st.sampled_from([1.0, 0.5, 3.0]),
    "softcap": st.sampled_from([None, 4.0]),
}


@settings(max_examples=settings.default.max_examples)
@given(problem=drawings(), options=st.fixed_dictionaries(SCORING))
def test_log_probabilities_agree_with_the_float64_definition(draw, problem, options):
    scores_agree(draw, problem, options)


@settings(max_examples=settings.default.max_examples // 8)
@given(problem=drawings(**KERNELS), options=st.fixed_dictionaries(SCORING))
def test_log_probabilities_of_the_kernels_agree_with_the_float64_definition(draw, kernels_device, problem, options):
    scores_agree(draw, problem, options, kernels_device)


def scores_agree(draw, problem, options, device="cpu"):
    dtype = problem["dtype"]
    drawn = draw(*problem["shape"], **problem["drawing"]).on(device).to(dtype)
    exact = score(drawn.to(torch.float64), LEAVES, backend="reference", **options)
    plain = Plain(lambda: score(drawn, LEAVES, backend="reference", **options))
    other, trained = variant(drawn, problem)
    got = score(other, trained, backend=problem["backend"], memory_budget=problem["budget"], **options)
    for name, value in got.items():
        check(name, value, plain, exact[name], dtype)


def score(drawn, trained, **options):
    """Log-probabilities, lse and entropy, and gradients of a weighted sum of all three."""
    out = token_logprobs(drawn.hidden, drawn.weight, drawn.targets, bias=drawn.bias, adapter=drawn.adapter, **options)
    weights = torch.linspace(-1.0, 2.0, out.logprobs.numel(), dtype=out.lse.dtype, device=out.lse.device).reshape(
        out.logprobs.shape
    )
    total = (weights * out.logprobs).sum() + 0.3 * (weights * out.lse).sum()
    if out.entropy is not None:
        total = total - 0.5 * (weights * out.entropy).sum()
    leaves = {name: getattr(drawn, name) for name in trained if getattr(drawn, name) is not None}
    gradients = torch.autograd.grad(total, list(leaves.values()))
    named = {"logprobs": out.logprobs.detach(), "lse": out.lse.detach()}
    named |= {} if out.entropy is None else {"entropy": out.entropy.detach()}
    return named | {f"d_{name}": gradient for name, gradient in zip(leaves, gradients, strict=True)}


@settings(max_examples=settings.default.max_examples)
@given(
    problem=problems(),
    dtypes=st.tuples(*[st.sampled_from([torch.float32, torch.bfloat16, torch.float16])] * 4),
    width=st.sampled_from([torch.bfloat16, torch.float16]),
)
def test_any_mix_of_dtypes_under_autocast(draw, solve, problem, dtypes, width):
    options, budget = problem["options"], problem["budget"]
    drawn, _ = variant(draw(*problem["shape"], **problem["drawing"]).to(torch.float64), problem)
    tensors = {name: getattr(drawn, name) for name in LEAVES}
    kinds = dict(zip(LEAVES, (*dtypes, dtypes[3], torch.float32), strict=True))
    mixed = {n: None if t is None else t.detach().to(kinds[n]).requires_grad_() for n, t in tensors.items()}
    wide = {n: None if t is None else t.detach().double().requires_grad_() for n, t in mixed.items()}
    others = {name: getattr(drawn, name) for name in ("targets", "token_weight", "class_weight")}
    upstream = upstream_of(drawn, options)
    exact = solve(type(drawn)(**wide, **others), backend="reference", upstream=upstream, **options)
    mixed = type(drawn)(**mixed, **others)

    def under_autocast(**how):
        with torch.autocast("cpu", width):
            return solve(mixed, upstream=upstream, **how, **options)

    plain = Plain(lambda: under_autocast(backend="reference"))
    got = under_autocast(backend=problem["backend"], memory_budget=budget)
    for name in ("loss", "nll", *(name for name in got if name.startswith("d_"))):
        plain.assert_as_exact(name, got[name], exact[name], slack=FEW_NUMBERS)


def check(name, got, plain, exact, dtype):
    if dtype == torch.float64:
        torch.testing.assert_close(got, exact, rtol=1e-9, atol=1e-11)
    else:
        plain.assert_as_exact(name, got, exact, slack=FEW_NUMBERS)


def upstream_of(drawn, options):
    if options["reduction"] != "none":
        return torch.tensor(1.5, device=drawn.targets.device)
    return torch.linspace(-1.0, 2.0, drawn.targets.numel(), device=drawn.targets.device).reshape(drawn.targets.shape)


def test_a_float16_head_under_bfloat16_autocast_is_written_to_the_last_element(draw, solve):
    """What the mix of dtypes was drawn for: its only chunk was both the first and the last."""
    drawn = draw(12, 8, 40).to(torch.float16)
    with torch.autocast("cpu", torch.bfloat16):
        got = solve(drawn)["d_weight"]
        torch.testing.assert_close(got, solve(drawn, backend="reference")["d_weight"], rtol=2e-2, atol=1e-3)


def test_the_drawn_adapter_is_an_adapter(draw):
    assert isinstance(draw(2, 3, 4, adapter="dora").adapter, LowRankAdapter)
