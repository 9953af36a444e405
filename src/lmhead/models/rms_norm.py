"""RMSNorm, with few passes over memory on a CPU too."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def rms_norm(
    x: Tensor,  # [..., D]
    weight: Tensor | None,  # [D]
    eps: float,
) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight, in x's dtype; the arithmetic is float32 or wider.

    Equal to `torch.nn.functional.rms_norm(x, x.shape[-1:], weight, eps)`, which is one fused kernel on CUDA and on MPS
    but on a CPU a chain of small operations that each save their inputs: there this one saves the result alone.

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization" (2019).
    """
    if x.device.type != "cpu":
        return F.rms_norm(x, x.shape[-1:], None if weight is None else weight.to(x.dtype), eps)
    # Where nothing is differentiated, without autograd's machinery: half of the time of a few rows.
    unit: Tensor = _UnitRMS.apply(x, eps) if torch.is_grad_enabled() else _unit(x, eps)[0]  # type: ignore[no-untyped-call]
    return unit if weight is None else unit * weight.to(x.dtype)


class RMSNorm(nn.Module):
    """`rms_norm` with its weight, or without one."""

    def __init__(self, dim: int, *, eps: float, weight: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim)) if weight else None

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


def _unit(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """(x scaled [..., D], in its dtype; the scale [..., 1])."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    scale = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    scale = scale.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    return (wide * scale).to(x.dtype), scale


class _UnitRMS(torch.autograd.Function):
    """Tensors are widened whole before they meet: an operation on two dtypes runs at a third of the rate on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        unit, scale = _unit(x, eps)
        ctx.save_for_backward(unit, scale)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        # d(unit)/dx = scale * (1 - unit unit^T / D): what is left of grad across unit, scaled.
        unit, scale = ctx.saved_tensors
        D = unit.shape[-1]
        wide_grad, wide_unit = grad.to(scale.dtype), unit.to(scale.dtype)
        along = torch.bmm(wide_grad.reshape(-1, 1, D), wide_unit.reshape(-1, D, 1)).view(scale.shape)
        return torch.addcmul(wide_grad, wide_unit, along.div_(-D)).mul_(scale).to(grad.dtype), None
