"""Gradients that a forward has made already, on their way through a custom op to the first backward.

A custom op returns a tensor for each of DIFFERENTIABLE, an empty one where no gradient was wanted. The first backward
takes what the forward made, scales it in place and hands it over, so that no second copy of a V x D gradient ever
exists; a later one finds it gone and makes it again.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from lmhead.ops.problem import DIFFERENTIABLE, Problem


def boost(coefficient: Tensor, problem: Problem) -> Tensor | None:
    """A power of two [] for coefficients whose gradients are made before a loss scale arrives; None but for float16.

    A mean's coefficients are 1 / N, and gradients of that size are lost in float16. With it the largest is about 1,
    their sum at most 1024; the loss is divided by it again, and so is the upstream gradient, in float32.
    """
    tensors = [getattr(problem, name) for name in DIFFERENTIABLE]
    dtypes = {problem.compute_dtype} | {tensor.dtype for tensor in tensors if tensor is not None}
    if torch.float16 not in dtypes:
        return None
    size = coefficient.abs().where(problem.targets.reshape(coefficient.shape) != problem.ignore_index, 0)
    largest = torch.maximum(size.amax(), size.sum() / 1024) if size.numel() else size.new_ones(())
    usable = (largest > 0) & largest.isfinite()
    return torch.exp2(-torch.ceil(torch.log2(largest.where(usable, 1.0))))


def trained(problem: Problem) -> list[bool]:
    """Which of DIFFERENTIABLE require a gradient."""
    tensors = (getattr(problem, name) for name in DIFFERENTIABLE)
    return [tensor is not None and tensor.requires_grad for tensor in tensors]


def names_of(wanted: Sequence[int]) -> frozenset[str]:
    """The names of those that are wanted."""
    return frozenset(name for name, want in zip(DIFFERENTIABLE, wanted, strict=True) if want)


def or_empty(gradients: Mapping[str, Tensor], like: Tensor) -> list[Tensor]:
    """One for each of DIFFERENTIABLE."""
    made = [gradients.get(name) for name in DIFFERENTIABLE]
    return [like.new_empty(0) if gradient is None else gradient for gradient in made]


def fake_gradients(tensors: Sequence[Tensor | None], wanted: Sequence[bool]) -> list[Tensor]:
    """The same of fake tensors, which are given in the order of DIFFERENTIABLE."""
    hidden = tensors[0]
    assert hidden is not None
    return [
        tensor.new_empty(tensor.shape) if want and tensor is not None else hidden.new_empty(0)
        for want, tensor in zip(wanted, tensors, strict=True)
    ]


def handed_over(ctx, factor: Tensor) -> dict[str, Tensor] | None:  # type: ignore[no-untyped-def]
    """What the forward left in `ctx.gradients`, times `factor` []; None where it is gone or a graph is wanted of it."""
    if ctx.gradients is None or torch.is_grad_enabled():
        return None
    made, ctx.gradients = ctx.gradients, None
    return {
        name: _scaled(gradient, factor)
        for name, gradient, want in zip(DIFFERENTIABLE, made, ctx.wanted, strict=True)
        if want
    }


def _scaled(gradient: Tensor, factor: Tensor) -> Tensor:
    """gradient * factor; in place when run, not touched where the factor is 1 and knowing it costs no wait."""
    if type(gradient) is not Tensor:  # traced: the compiler decides what is done in place
        return gradient * factor
    if factor.device.type == "cpu" and factor.item() == 1.0:
        return gradient
    return gradient.mul_(factor)  # not of the factor's 16 bits: what has no dimensions is multiplied in float32


def no_second_derivative(function: str) -> Callable[..., None]:
    """A backward that says so."""

    def refuse(ctx, *grads):  # type: ignore[no-untyped-def]
        raise NotImplementedError(
            f"{function} has no second derivative: call backward without create_graph=True, "
            'or use backend="reference", which has one'
        )

    return refuse
