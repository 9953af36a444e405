"""The cross entropy of given logits against the op's definition, torch and hand-worked numbers."""

import math
from dataclasses import fields

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from lmhead.errors import ArgumentError, ArgumentTypeError
from lmhead.losses.cross_entropy import cross_entropy
from lmhead.ops.linear_cross_entropy import linear_cross_entropy
from lmhead.ops.problem import TokenStatistics

STATISTICS = [field.name for field in fields(TokenStatistics)]


def through_the_definition(logits, targets, **options):
    """The op's reference, its head being the identity."""
    V = logits.shape[-1]
    return linear_cross_entropy(
        logits,
        torch.eye(V, dtype=logits.dtype),
        targets,
        backend="reference",
        return_stats=True,
        ranks=True,
        top_k=min(3, V),
        **options,
    )


def draw(N=23, V=37, *, ignored=0.3, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(N, V, generator=generator, dtype=torch.float64)
    targets = torch.randint(V, (N,), generator=generator)
    targets = targets.masked_fill(torch.rand(N, generator=generator) < ignored, -100)
    return logits.to(dtype).requires_grad_(), targets


@given(
    st.integers(0, 9),
    st.integers(1, 40),
    st.sampled_from([0.0, 0.4, 1.0]),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from([0.0, 1e-2]),
    st.sampled_from(["mean", "sum", "none"]),
    st.booleans(),
    st.integers(0, 9),
)
def test_it_is_the_definition(N, V, ignored, label_smoothing, z_loss, reduction, weights, seed):
    logits, targets = draw(N, V, ignored=ignored, seed=seed)
    options = {"label_smoothing": label_smoothing, "z_loss": z_loss, "reduction": reduction}
    if weights:
        generator = torch.Generator().manual_seed(seed)
        options["token_weight"] = torch.rand(N, generator=generator, dtype=torch.float64).round(decimals=1)
        options["class_weight"] = torch.rand(V, generator=generator, dtype=torch.float64) + 0.5
    ours, statistics = cross_entropy(logits, targets, return_stats=True, ranks=True, top_k=min(3, V), **options)
    (gradient,) = torch.autograd.grad(ours.sum(), logits)
    exact, expected = through_the_definition(logits, targets, **options)
    (exact_gradient,) = torch.autograd.grad(exact.sum(), logits)
    torch.testing.assert_close(ours, exact, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient, exact_gradient, rtol=1e-9, atol=1e-12)
    for name in STATISTICS:
        torch.testing.assert_close(getattr(statistics, name), getattr(expected, name), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_its_statistics_are_those_of_the_op(dtype):
    """Of the same logits, made by the op of an identity, whose products are exact."""
    logits, targets = draw(64, 101, dtype=dtype)
    with torch.no_grad():
        logits[:9, :50] = logits[:9, 50:100]  # equal logits: the first is the hit, neither outranks the other
    options = {"return_stats": True, "ranks": True, "top_k": 3, "label_smoothing": 0.1}
    loss, ours = cross_entropy(logits, targets, **options)
    of_op, theirs = linear_cross_entropy(logits, torch.eye(101, dtype=dtype), targets, backend="chunked", **options)
    _, exact = through_the_definition(logits.detach().double(), targets)
    torch.testing.assert_close(loss, of_op, rtol=1e-5, atol=1e-6)
    for name in STATISTICS:
        got = getattr(ours, name)
        torch.testing.assert_close(got, getattr(theirs, name), rtol=1e-5, atol=1e-6, msg=name)
        torch.testing.assert_close(got, getattr(exact, name).to(got.dtype), rtol=1e-5, atol=1e-6, msg=name)


def test_ranks_are_a_part_of_the_statistics():
    logits, targets = draw(3, 5)
    assert cross_entropy(logits, targets, return_stats=True)[1].rank is None
    with pytest.raises(ArgumentError, match="ranks must be given with return_stats=True only"):
        cross_entropy(logits, targets, ranks=True)


def test_top_tokens_of_several_blocks_are_those_of_a_stable_sort():
    """A few integers for logits: most are equal, and of those the lower ids come first."""
    logits = torch.randint(4, (3, 40, 3000)).float()
    targets = torch.randint(3000, (3, 40))
    targets[1, 4] = -100
    _, statistics = cross_entropy(logits, targets, return_stats=True, top_k=6)
    values, ids = logits.log_softmax(-1).sort(dim=-1, descending=True, stable=True)
    scored = (targets != -100)[..., None]
    assert torch.equal(statistics.top_ids, ids[..., :6].where(scored, 0))
    torch.testing.assert_close(statistics.top_logprobs, values[..., :6].where(scored, 0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_logits_are_summed_in_float32(dtype):
    logits, targets = draw(64, 501, dtype=dtype)
    ours = cross_entropy(logits, targets)
    ours.backward()
    exact = F.cross_entropy(logits.detach().double(), targets)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), exact, rtol=2e-6, atol=0)
    assert logits.grad.dtype == dtype


def test_a_certain_token_keeps_its_digits():
    logits = torch.zeros(1, 8192)
    logits[0, 7] = 30.0
    logits.requires_grad_()
    loss = cross_entropy(logits, torch.tensor([7]))
    loss.backward()
    exact = 8191 * math.exp(-30)
    assert loss.item() == pytest.approx(exact, rel=1e-5)  # 7.7e-10; torch says 0
    assert logits.grad[0, 7].item() == pytest.approx(-exact, rel=1e-5)
    assert F.cross_entropy(logits, torch.tensor([7])).item() == 0.0


def test_margin_of_a_hundred():
    logits = torch.tensor([[100.0, 0.0]] * 2)
    losses = cross_entropy(logits, torch.tensor([0, 1]), reduction="none")
    torch.testing.assert_close(losses, torch.tensor([math.exp(-100), 100.0]))


def test_ignored_rows_may_hold_anything_and_get_zero_gradient():
    logits, targets = draw(8, 5, ignored=0.0)
    targets[2] = -100
    with torch.no_grad():
        logits[2] = math.nan
    loss = cross_entropy(logits, targets)
    loss.backward()
    assert loss.isfinite()
    assert (logits.grad[2] == 0).all()
    assert logits.grad.isfinite().all()


def test_nothing_scored_is_a_differentiable_zero():
    logits, targets = draw(4, 5, ignored=1.1)
    for options in ({}, {"divisor": torch.tensor(0.0)}, {"reduction": "sum"}, {"label_smoothing": 0.1}):
        loss = cross_entropy(logits, targets, **options)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.item() == 0.0
        assert (gradient == 0).all()
    assert F.cross_entropy(logits, targets).isnan()


def test_tokens_masked_out_with_minus_infinity():
    logits = torch.tensor([[0.0, 0.0, -math.inf]], requires_grad=True)
    loss, statistics = cross_entropy(logits, torch.tensor([0]), return_stats=True)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert statistics.entropy.item() == pytest.approx(math.log(2))
    torch.testing.assert_close(logits.grad, torch.tensor([[-0.5, 0.5, 0.0]]))


def test_the_gradient_scales_with_what_comes_from_above():
    logits, targets = draw()
    (once,) = torch.autograd.grad(cross_entropy(logits, targets), logits)
    (thrice,) = torch.autograd.grad(3 * cross_entropy(logits, targets), logits)
    torch.testing.assert_close(thrice, 3 * once)


def test_backward_twice():
    logits, targets = draw()
    loss = cross_entropy(logits, targets)
    (first,) = torch.autograd.grad(loss, logits, retain_graph=True)
    (second,) = torch.autograd.grad(loss, logits)
    assert torch.equal(first, second)


def test_first_and_second_derivatives():
    logits, targets = draw(5, 4)

    def loss(x):
        return cross_entropy(x, targets, label_smoothing=0.1, z_loss=0.01)

    assert torch.autograd.gradcheck(loss, logits)
    assert torch.autograd.gradgradcheck(loss, logits)


def test_strided_logits_and_leading_dimensions():
    logits, _ = draw(24, 7)
    targets = torch.arange(24).reshape(2, 3, 4) % 7
    strided = logits.reshape(4, 3, 2, 7).transpose(0, 2)
    losses = cross_entropy(strided, targets, reduction="none")
    assert losses.shape == (2, 3, 4)
    torch.testing.assert_close(
        losses.flatten(), F.cross_entropy(strided.reshape(-1, 7), targets.flatten(), reduction="none")
    )


def test_rows_that_need_many_blocks():
    logits, targets = draw(1000, 997, dtype=torch.float32)
    torch.testing.assert_close(cross_entropy(logits, targets), F.cross_entropy(logits, targets))


def test_compiled_it_is_the_same():
    logits, targets = draw(9, 11)
    options = {"label_smoothing": 0.1, "z_loss": 1e-3, "return_stats": True, "ranks": True, "top_k": 3}
    expected, statistics = cross_entropy(logits, targets, **options)
    torch._dynamo.reset()
    compiled = torch.compile(cross_entropy, backend="aot_eager")
    got, traced = compiled(logits, targets, **options)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (got, expected)))
    for name in STATISTICS:
        torch.testing.assert_close(getattr(traced, name), getattr(statistics, name))


@pytest.mark.parametrize("bad", [5, -1, 2**40])
@pytest.mark.parametrize("class_weight", [None, torch.tensor([0.0, 1, 1, 1, 0.0])])
def test_targets_out_of_range_are_refused_by_position(bad, class_weight):
    with pytest.raises(ArgumentError, match=rf"targets must be in \[0, 5\) or ignore_index=-100, got {bad} .* 2:"):
        cross_entropy(torch.zeros(3, 5), torch.tensor([1, 2, bad]), class_weight=class_weight)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"logits": torch.zeros(2, 3, dtype=torch.long)}, "logits must be floating point"),
        ({"targets": torch.zeros(2)}, "targets must be integers"),
        ({"targets": torch.zeros(3, dtype=torch.long)}, "targets must have the logits' leading dimensions"),
        ({"label_smoothing": 1.0}, "label_smoothing must be in"),
        ({"z_loss": -1.0}, "z_loss must be finite"),
        ({"reduction": "average"}, "reduction must be mean, sum or none"),
        ({"reduction": "sum", "divisor": 2.0}, "divisor must be given with"),
        ({"divisor": 0.0}, "divisor must be finite and > 0"),
        ({"token_weight": torch.ones(3)}, r"token_weight must have the shape \(2,\)"),
        ({"class_weight": torch.ones(4)}, r"class_weight must have the shape \(3,\)"),
    ],
)
def test_what_is_refused(arguments, message):
    arguments = {"logits": torch.zeros(2, 3), "targets": torch.zeros(2, dtype=torch.long), **arguments}
    with pytest.raises(ArgumentError, match=message):
        cross_entropy(arguments.pop("logits"), arguments.pop("targets"), **arguments)


def test_lists_are_refused():
    with pytest.raises(ArgumentTypeError, match="targets must be a Tensor, got list"):
        cross_entropy(torch.zeros(2, 3), [1, 2])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"token_weight": torch.tensor([-1.0, 1.0])}, ArgumentError, "token_weight must be finite and >= 0, got -1.0"),
        ({"class_weight": torch.tensor([1.0, 1.0, float("nan")])}, ArgumentError, "class_weight must be finite"),
        ({"divisor": torch.ones(3)}, ArgumentError, "divisor must be one number"),
        ({"divisor": "x"}, ArgumentTypeError, "divisor must be a number or a Tensor, got str"),
        ({"token_weight": [1.0, 1.0]}, ArgumentTypeError, "token_weight must be a Tensor, got list"),
    ],
)
def test_weights_and_divisors_obey_the_ops_rules(arguments, error, message):
    with pytest.raises(error, match=message):
        cross_entropy(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long), **arguments)
