"""Collectives that a gradient goes through: parts of several ranks gathered, sums over ranks scattered to them.

    gathered(part)         every rank's part, one after the other     gradient: summed over ranks, each part to its rank
    scattered_sum(rows)    this rank's part of the sum over ranks     gradient: gathered

Each is the other's transpose. torch.distributed.nn.functional.all_gather is not used: on gloo its gradients are wrong
where they are dense but permuted (torch 2.13), as those of attention's keys are.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

# torch 2.13's names of what was all_gather_into_tensor and reduce_scatter_tensor, which it deprecates
_ALL_GATHER: Callable[..., Any] = getattr(dist, "all_gather_single", dist.all_gather_into_tensor)
_REDUCE_SCATTER: Callable[..., Any] = getattr(dist, "reduce_scatter_single", dist.reduce_scatter_tensor)


def gathered(part: Tensor, group: dist.ProcessGroup, *, dim: int = 0) -> Tensor:
    """All ranks' parts, in rank order along `dim`; they have one shape."""
    return _Gathered.apply(part, group, dim)  # type: ignore[no-untyped-call, no-any-return]


def scattered_sum(rows: Tensor, group: dist.ProcessGroup, *, dim: int = 0) -> Tensor:
    """Of the sum over ranks of `rows`, this rank's part along `dim`, which the number of ranks divides."""
    return _ScatteredSum.apply(rows, group, dim)  # type: ignore[no-untyped-call, no-any-return]


def scaled_gradient(tensor: Tensor, factor: float) -> Tensor:
    """The same tensor; its gradient is multiplied with `factor`."""
    return _Scaled.apply(tensor, factor)  # type: ignore[no-untyped-call, no-any-return]


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.factor, None


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, group: dist.ProcessGroup, dim: int) -> Tensor:
        ctx.group, ctx.dim = group, dim
        return _gather(part, group, dim)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _scatter(grad, ctx.group, ctx.dim), None, None


class _ScatteredSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: dist.ProcessGroup, dim: int) -> Tensor:
        ctx.group, ctx.dim = group, dim
        return _scatter(rows, group, dim)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _gather(grad, ctx.group, ctx.dim), None, None


def _gather(part: Tensor, group: dist.ProcessGroup, dim: int) -> Tensor:
    plain = part.view(torch.uint8) if part.dtype == torch.bool else part  # not every back-end sends bools
    first = plain.movedim(dim, 0).contiguous()
    whole = first.new_empty((group.size() * first.shape[0], *first.shape[1:]))
    _ALL_GATHER(whole, first, group=group)
    return whole.movedim(0, dim).contiguous().view(part.dtype)


def _scatter(rows: Tensor, group: dist.ProcessGroup, dim: int) -> Tensor:
    first = rows.movedim(dim, 0).contiguous()
    part = first.new_empty((first.shape[0] // group.size(), *first.shape[1:]))
    _REDUCE_SCATTER(part, first, group=group)
    return part.movedim(0, dim).contiguous()
