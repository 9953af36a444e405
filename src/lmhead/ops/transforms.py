"""torch.func over a custom op: grad, vmap, jacrev and what is made of them, one call of the op for each of a batch.

A custom op is a black box to torch.func. Here it stands inside a torch.autograd.Function in functorch's form: its
derivative is that of the op, and under vmap it runs once for each element of the batch, so that memory stays what the
op needs for one. Forward mode and second derivatives it has not; the reference has them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lmhead.ops.problem import DIFFERENTIABLE, Problem
from lmhead.ops.tensor_values import carries_tangent, is_transformed

Op = Callable[..., tuple[Tensor, ...]]


def transforms_at_work(function: str, problem: Problem) -> bool:
    """Whether the op has to run in its transformable form.

    Raises:
        NotImplementedError: a tangent is carried (`torch.autograd.forward_ad`), which would be dropped in silence; or
            torch.compile looks into a transform, which it then leaves to eager torch unless fullgraph=True.
    """
    if not torch.compiler.is_compiling() and carries_tangent(getattr(problem, name) for name in DIFFERENTIABLE):
        raise _no_forward_mode(function)
    transformed = is_transformed()
    if transformed and torch.compiler.is_compiling():
        raise NotImplementedError(
            f"{function} has no torch.func transform inside torch.compile: transform it outside, or use "
            'backend="reference", which has them'
        )
    return transformed


def transformable(function: str, op: Op, setup: Callable[..., None], backward: Callable[..., Any]) -> Op:
    """`op` in a form that torch.func transforms; the same arguments, the same results.

    Args:
        function: whose op it is, for messages.
        setup: as `register_autograd` of a custom op has it, called with all inputs and outputs.
        backward: likewise; where it calls another op, that one has to be transformable too.
    """

    class Transformable(torch.autograd.Function):
        @staticmethod
        def forward(*inputs: Any) -> Any:
            return op(*inputs)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            setup(ctx, inputs, output)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return backward(ctx, *grads)

        @staticmethod
        def jvp(ctx: Any, *tangents: Any) -> Any:
            raise _no_forward_mode(function)

        @staticmethod
        @torch._disable_dynamo  # type: ignore[attr-defined]  # which cannot trace a Function that applies itself
        def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Any, Any]:
            results = [run(*_element(inputs, in_dims, index)) for index in range(info.batch_size)]
            columns = tuple(torch.stack(column) for column in zip(*results, strict=True))
            return columns, (0,) * len(columns)

    run: Op = Transformable.apply
    return run


def _element(inputs: Sequence[Any], in_dims: Sequence[Any], index: int) -> list[Any]:
    return [x.select(dim, index) if isinstance(dim, int) else x for x, dim in zip(inputs, in_dims, strict=True)]


def _no_forward_mode(function: str) -> NotImplementedError:
    return NotImplementedError(
        f"{function} has no forward-mode derivative (jvp, jacfwd, forward_ad): use grad, vjp or backward(), "
        'or backend="reference", which has it'
    )
