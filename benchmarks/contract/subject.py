"""What is examined, on which problems, and how a case says what is wrong.

A case takes a Subject and runs small programs on it: functions of a loss and of three tensors that give a scalar. What
is right is what the same program gives with the definition, in float64. A case raises AssertionError, or lets through
what the subject raises; it returns None, or a word for the table where the contract leaves a choice ("refused").
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.peers import Loss, plain_upcast

Program = Callable[[Loss, Tensor, Tensor, Tensor], Tensor]
Case = Callable[["Subject"], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A loss, and the program of all logits that it has to agree with."""

    loss: Loss
    definition: Loss = plain_upcast


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Leaves that require a gradient, and targets."""

    hidden: Tensor  # [N, D]
    weight: Tensor  # [V, D]
    targets: Tensor  # [N], -100 is ignored

    def to(self, dtype: torch.dtype) -> "Problem":
        """The same numbers as new leaves, with the same ones frozen."""
        hidden, weight = (
            leaf.detach().to(dtype, copy=True).requires_grad_(leaf.requires_grad) for leaf in (self.hidden, self.weight)
        )
        return Problem(hidden=hidden, weight=weight, targets=self.targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """A scalar and its gradients; None where autograd gave none."""

    loss: Tensor
    d_hidden: Tensor | None
    d_weight: Tensor | None


def draw(
    N: int = 13, D: int = 6, V: int = 11, *, dtype: torch.dtype = torch.float32, ignored: float = 0.25, seed: int = 0
) -> Problem:
    """Normal hidden states, logits of a standard deviation of 2; every dtype rounds the same float64 numbers."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(N, D, generator=generator, dtype=torch.float64)
    weight = torch.randn(V, D, generator=generator, dtype=torch.float64) * 2 / D**0.5
    targets = torch.randint(V, (N,), generator=generator)
    targets = targets.masked_fill(torch.rand(N, generator=generator) < ignored, -100)
    return Problem(hidden=hidden.requires_grad_(), weight=weight.requires_grad_(), targets=targets).to(dtype)


def once(loss: Loss, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """The plainest program."""
    return loss(hidden, weight, targets)


def solve(loss: Loss, problem: Problem, program: Program = once) -> Solution:
    """Forward and backward of a program; the gradients are left in .grad as well."""
    result = program(loss, problem.hidden, problem.weight, problem.targets)
    result.backward()  # type: ignore[no-untyped-call]
    return Solution(loss=result.detach(), d_hidden=problem.hidden.grad, d_weight=problem.weight.grad)


def exact(subject: Subject, problem: Problem, program: Program = once) -> Solution:
    """What the definition gives in float64 for the very numbers of `problem`."""
    return solve(subject.definition, problem.to(torch.float64), program)


def agree(
    subject: Subject, program: Program = once, problem: Problem | None = None, *, tolerance: float = 1e-4
) -> None:
    """The subject's loss and gradients are the definition's, in the leaves' dtypes; frozen leaves get none."""
    problem = draw() if problem is None else problem
    got, right = solve(subject.loss, problem, program), exact(subject, problem, program)
    assert_close("loss", got.loss, right.loss, tolerance=tolerance)
    assert_same_gradients(problem, got, right, tolerance=tolerance)


def assert_same_gradients(problem: Problem, got: Solution, right: Solution, *, tolerance: float = 1e-4) -> None:
    """Gradients close to `right`, in the leaves' dtypes; none where a leaf is frozen."""
    pairs = (
        ("hidden", problem.hidden, got.d_hidden, right.d_hidden),
        ("weight", problem.weight, got.d_weight, right.d_weight),
    )
    for name, leaf, gradient, right_gradient in pairs:
        if not leaf.requires_grad:
            assert gradient is None, f"frozen {name} gets a gradient"
            continue
        assert gradient is not None, f"{name}.grad is None"
        assert gradient.dtype == leaf.dtype, f"{name}.grad is {short(gradient.dtype)}"
        assert right_gradient is not None
        assert_close(f"{name} gradient", gradient, right_gradient, tolerance=tolerance)


def assert_close(name: str, got: Tensor, right: Tensor, *, tolerance: float = 1e-4) -> None:
    """`got` is finite and within `tolerance` of `right`, relative, by root mean square."""
    assert got.shape == right.shape, f"{name} has shape {list(got.shape)}"
    assert bool(got.isfinite().all()), f"{name} is not finite"
    error = relative_error(got, right)
    what = f"is {got.item():.4g}, not {right.item():.4g}" if got.dim() == 0 else f"is wrong by {error:.1e}, relative"
    assert error <= tolerance, f"{name} {what}"


def assert_as_good(name: str, got: Tensor | None, plain: Tensor | None, right: Tensor | None, *, floor: float) -> None:
    """The error of `got` is at most 1.5 times that of plain logits in the same dtype, or `floor`."""
    assert got is not None, f"{name} is None"
    assert plain is not None
    assert right is not None
    error, allowed = relative_error(got, right), max(1.5 * relative_error(plain, right), floor)
    assert error <= allowed, f"{name} is wrong by {error:.1e}, {allowed:.1e} allowed"


def relative_error(got: Tensor, right: Tensor) -> float:
    """Root mean square of the difference, by that of `right`."""
    if right.numel() == 0:
        return 0.0
    difference, size = (got.double() - right).square().mean().sqrt(), right.square().mean().sqrt()
    return (difference / size.clamp(min=1e-300)).item()


def short(dtype: torch.dtype) -> str:
    """float32, not torch.float32."""
    return str(dtype).removeprefix("torch.")
