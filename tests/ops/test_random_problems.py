"""Whatever is drawn (shapes, strides, dtypes, options, budgets), the chunked op agrees with the float64 definition.

A few hundred problems in the suite, more than 10,000 with `--hypothesis-profile nightly`.
"""

import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st

# float16 is left to the nightly profile of a machine that has it in hardware: here its products are emulated
DTYPES = [torch.float64, torch.float32, torch.bfloat16]


def strided(tensor, stride):
    """The same numbers, every `stride`-th of a larger tensor along each dimension, or transposed for stride 0."""
    if stride == 0:
        return tensor.t().contiguous().t()
    larger = torch.full([size * stride for size in tensor.shape], 77, dtype=tensor.dtype)
    view = larger[tuple(slice(None, None, stride) for _ in tensor.shape)]
    return view.copy_(tensor)


@st.composite
def problems(draw):
    reduction = draw(st.sampled_from(["mean", "sum", "none"]))
    return {
        "shape": (
            draw(st.integers(0, 40)),
            draw(st.integers(1, 20)),
            draw(st.one_of(st.integers(1, 70), st.sampled_from([1023, 1025]))),
        ),
        "drawing": {
            "bias": draw(st.booleans()),
            "weights": draw(st.booleans()),
            "ignored": draw(st.sampled_from([0.0, 0.3, 1.0])),
            "seed": draw(st.integers(0, 1000)),
        },
        "dtype": draw(st.sampled_from(DTYPES)),
        "strides": draw(st.tuples(*[st.integers(0, 2)] * 3)),
        "trained": draw(st.sets(st.sampled_from(["hidden", "weight", "bias"]), min_size=1)),
        "budget": draw(st.sampled_from([None, 1, 10_000, 200_000])),
        "options": {
            "label_smoothing": draw(st.sampled_from([0.0, 0.1, 0.9])),
            "z_loss": draw(st.sampled_from([0.0, 1e-2])),
            "softcap": draw(st.sampled_from([None, 2.0, 30.0])),
            "logit_scale": draw(st.sampled_from([1.0, 0.25, -1.5])),
            "reduction": reduction,
            "divisor": draw(st.sampled_from([None, 3.0])) if reduction == "mean" else None,
        },
    }


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Problems this small are slower on two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@settings(max_examples=3 * settings.default.max_examples)
@given(problem=problems())
def test_agrees_with_the_float64_definition(draw, solve, assert_as_good_as_eager, problem):
    N, D, V = problem["shape"]
    dtype, options = problem["dtype"], problem["options"]
    drawn = draw(N, D, V, **problem["drawing"]).to(dtype)
    event(str(dtype))
    exact = solve(drawn.to(torch.float64), backend="reference", upstream=_upstream(N, options), **options)
    eager = solve(drawn, backend="reference", upstream=_upstream(N, options), **options)
    hidden, weight, targets = (
        strided(getattr(drawn, name).detach(), stride)
        for name, stride in zip(("hidden", "weight", "targets"), problem["strides"], strict=True)
    )
    tensors = {"hidden": hidden, "weight": weight, "bias": drawn.bias}
    trained = [name for name in sorted(problem["trained"]) if tensors[name] is not None] or ["hidden"]
    for name, tensor in tensors.items():
        if tensor is not None:
            tensors[name] = tensor.detach().requires_grad_(name in trained)
    other = type(drawn)(**tensors, targets=targets, token_weight=drawn.token_weight, class_weight=drawn.class_weight)
    got = solve(other, backend="chunked", upstream=_upstream(N, options), memory_budget=problem["budget"], **options)
    for name in ("loss", "nll", "lse", "entropy", *(f"d_{name}" for name in trained)):
        assert got[name].dtype == eager[name].dtype
        if dtype == torch.float64:  # eager is the exact one
            torch.testing.assert_close(got[name], exact[name], rtol=1e-9, atol=1e-12)
            continue
        assert_as_good_as_eager(got[name], eager[name], exact[name], floor=_floor(name, drawn, exact, options))
    assert torch.equal(got["scored"], exact["scored"])
    if dtype == torch.float64:
        assert torch.equal(got["hit"], exact["hit"])


def _floor(name, drawn, exact, options):
    """Rounding of what is summed, not of the sum: of a few numbers that cancel, eager can be lucky.

    A product adds V terms in the order that its shape and strides suggest: sqrt(V) units in the last place.
    (test_chunked.py holds larger problems to one unit in the last place of the result.)
    """
    summand = {"d_hidden": drawn.weight, "d_weight": drawn.hidden}.get(name)
    largest = 1.0 if summand is None or summand.numel() == 0 else summand.detach().abs().max().item()
    rows = max(drawn.targets.numel(), 1) if options["reduction"] == "mean" else 1
    size = exact[name].double().square().mean().sqrt().item() if exact[name].numel() else 1.0
    relative = (4 + drawn.weight.shape[0] ** 0.5) * torch.finfo(drawn.hidden.dtype).eps
    return relative * max(1.0, abs(options["logit_scale"]) * largest / rows / max(size, 1e-300))


def _upstream(N, options):
    return torch.linspace(-1.0, 2.0, N) if options["reduction"] == "none" else torch.tensor(1.5)
