"""ReLU^2 with few passes over memory."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def squared_relu(x: Tensor) -> Tensor:
    """relu(x)^2, in x's shape. Autograd's own chain saves two tensors and makes five passes; this saves one, in three.

    Source: So et al., "Primer: Searching for Efficient Transformers for Language Modeling" (2021).
    """
    if not torch.is_grad_enabled():
        return x.relu().square_()
    out: Tensor = _SquaredReLU.apply(x)  # type: ignore[no-untyped-call]
    return out


class _SquaredReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        positive = x.relu()
        ctx.save_for_backward(positive)
        return positive * positive

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (positive,) = ctx.saved_tensors
        doubled: Tensor = (grad * positive).mul_(2)
        return doubled
