"""Cases: edges of the inputs, and how good the numbers are."""

import math

import torch
from torch import Tensor

from benchmarks.contract.subject import (
    Problem,
    Subject,
    agree,
    assert_as_good,
    assert_close,
    assert_same_gradients,
    draw,
    exact,
    short,
    solve,
)
from benchmarks.peers import Loss


def zero_scored_rows(subject: Subject) -> None:
    """A rank whose batch is all padding: a 0 with gradients of 0, not NaN."""
    problem = draw()
    problem.targets.fill_(-100)
    _assert_nothing(subject, problem)


def zero_rows(subject: Subject) -> None:
    """N = 0: the same 0."""
    _assert_nothing(subject, draw(0))


def _assert_nothing(subject: Subject, problem: Problem) -> None:
    got = solve(subject.loss, problem)
    assert got.loss.item() == 0, f"the loss is {got.loss.item():.3g}"
    for name, gradient in (("hidden", got.d_hidden), ("weight", got.d_weight)):
        assert gradient is not None, f"{name}.grad is None"
        assert bool((gradient == 0).all()), f"{name} gradient is not 0"


def non_contiguous_inputs(subject: Subject) -> None:
    """A transposed weight, every second column of the hidden states, every second target."""

    def program(loss: Loss, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        return loss(hidden[:, ::2], weight.T, targets.repeat_interleave(2)[::2])

    drawn = draw(13, 12, 6)
    agree(subject, program, Problem(hidden=drawn.hidden, weight=_leaf(drawn.weight.T[:6]), targets=drawn.targets))


def ignored_rows_may_hold_nan(subject: Subject) -> None:
    """Padding is not always zeroed; 0 * NaN is NaN."""
    problem = draw()
    right = exact(subject, problem)
    ignored = problem.targets == -100
    problem.hidden.data[ignored] = math.nan
    got = solve(subject.loss, problem)
    assert_close("loss", got.loss, right.loss)
    assert_same_gradients(problem, got, right)


def ignored_rows_get_no_gradient(subject: Subject) -> None:
    """Exactly 0, not a rounding error."""
    problem = draw()
    got = solve(subject.loss, problem)
    assert got.d_hidden is not None, "hidden.grad is None"
    assert bool((got.d_hidden[problem.targets == -100] == 0).all()), "an ignored row has a gradient"


def non_finite_hidden_gives_non_finite_loss(subject: Subject) -> None:
    """A diverged model is seen, not averaged away; of a capped inf, the definition's loss is finite too."""
    for value in (math.nan, math.inf):
        problem = draw(ignored=0.0)
        problem.hidden.data[3, 0] = value
        loss, right = (f(problem.hidden, problem.weight, problem.targets) for f in (subject.loss, subject.definition))
        assert loss.isfinite() == right.isfinite(), f"{value} in a hidden state gives {loss.item():.3g}"


def target_beyond_the_vocabulary_is_refused(subject: Subject) -> None:
    """The tokenizer has more tokens than the head: not read out of bounds, not silently scored."""
    _assert_refused(subject, 11)


def target_of_minus_1_is_refused(subject: Subject) -> None:
    """Somebody else's ignore index."""
    _assert_refused(subject, -1)


def _assert_refused(subject: Subject, target: int) -> None:
    problem = draw()
    problem.targets[2] = target
    try:
        loss = subject.loss(problem.hidden, problem.weight, problem.targets).item()
    except (ValueError, IndexError, RuntimeError):
        return
    raise AssertionError(f"target {target} of 11 is accepted: loss {loss:.3g}")


def large_logits(subject: Subject) -> None:
    """Hundreds of nats: exp would overflow."""
    problem = draw()
    problem.hidden.data *= 50
    agree(subject, problem=problem)


def margin_of_30_nats(subject: Subject) -> None:
    """Over 8191 equal others: 7.7e-10, where 1 - p rounds to 0. (Float64 sums 1 and 8191 small numbers to 4 digits.)"""
    weight = torch.zeros(8192, 1)
    weight[0] = 30
    problem = Problem(hidden=_leaf(torch.ones(1, 1)), weight=_leaf(weight), targets=torch.tensor([0]))
    agree(subject, problem=problem, tolerance=1e-3)


def small_probabilities_keep_their_gradient(subject: Subject) -> None:
    """Down to e^-25, each to three digits: rare tokens learn from them; a filter of small gradients starves them."""
    weight = torch.linspace(0, -25, 64)[:, None]
    problem = Problem(hidden=_leaf(torch.ones(1, 1)), weight=_leaf(weight), targets=torch.tensor([0]))
    got, right = solve(subject.loss, problem).d_weight, exact(subject, problem).d_weight
    assert got is not None, "weight.grad is None"
    assert right is not None
    error = ((got.double() - right) / right).abs().max().item()
    assert error <= 1e-3, f"an entry of the weight gradient is wrong by {error:.1e}, relative"


def bfloat16_loss_is_float32(subject: Subject) -> None:
    """A loss of 10.8 in bfloat16 is known to 1/32."""
    problem = draw(dtype=torch.bfloat16)
    loss = subject.loss(problem.hidden, problem.weight, problem.targets)
    assert loss.dtype == torch.float32, f"the loss is {short(loss.dtype)}"


def bfloat16_loss_is_as_good_as_plain(subject: Subject) -> None:
    """1024 rows, 1024 tokens: sums over chunks are not in bfloat16."""
    problem = draw(1024, 64, 1024, dtype=torch.bfloat16, ignored=0.0)
    with torch.no_grad():
        got = subject.loss(problem.hidden, problem.weight, problem.targets)
        plain = subject.definition(problem.hidden, problem.weight, problem.targets)
        wide = problem.to(torch.float64)
        right = subject.definition(wide.hidden, wide.weight, wide.targets)
    assert_as_good("loss", got, plain, right, floor=2**-14)


def bfloat16_gradients_are_as_good_as_plain(subject: Subject) -> None:
    """The weight's gradient sums over rows: in float32, whatever its dtype (Liger #512, #827, #830)."""
    problem = draw(1024, 64, 1024, dtype=torch.bfloat16, ignored=0.0)
    got, plain = solve(subject.loss, problem), solve(subject.definition, problem.to(torch.bfloat16))
    right = exact(subject, problem)
    for name in ("hidden", "weight"):
        gradients = (getattr(solution, f"d_{name}") for solution in (got, plain, right))
        assert_as_good(f"{name} gradient", *gradients, floor=2**-10)


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_()


CASES = (
    zero_scored_rows,
    zero_rows,
    non_contiguous_inputs,
    ignored_rows_may_hold_nan,
    ignored_rows_get_no_gradient,
    non_finite_hidden_gives_non_finite_loss,
    target_beyond_the_vocabulary_is_refused,
    target_of_minus_1_is_refused,
    large_logits,
    margin_of_30_nats,
    small_probabilities_keep_their_gradient,
    bfloat16_loss_is_float32,
    bfloat16_loss_is_as_good_as_plain,
    bfloat16_gradients_are_as_good_as_plain,
)
