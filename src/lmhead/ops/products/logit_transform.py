"""What stands between the matrix product and the logits, in place on a block of rows, and its way back."""

from collections.abc import Collection

import torch
from torch import Tensor

from lmhead.ops.problem import Problem, accumulation_dtype


class LogitTransform:
    """logits = cap(logit_scale * (column_scale * product + bias)), and from their gradient the product's.

    The way back does not multiply by logit_scale: whoever makes the gradient folds it into its coefficients.
    """

    def __init__(self, problem: Problem, wanted: Collection[str], *, differentiated: bool) -> None:
        self.differentiated = differentiated
        wide = accumulation_dtype(problem.compute_dtype)
        self.logit_scale, self.softcap = problem.logit_scale, problem.softcap
        self.bias, self.column_scale = (
            None if tensor is None else tensor.detach().to(wide) for tensor in (problem.bias, problem.column_scale)
        )
        V = problem.weight.shape[0]
        self.d_bias, self.d_column_scale = (
            problem.weight.new_zeros(V, dtype=wide) if name in wanted else None for name in ("bias", "column_scale")
        )

    @property
    def copies(self) -> int:
        """Buffers of a block's shape that `forward` takes from its `spare`."""
        return int(self.softcap is not None and self.differentiated) + int(self.d_column_scale is not None)

    def forward(self, x: Tensor, spare: list[Tensor], columns: slice = slice(None)) -> tuple[Tensor | None, ...]:
        """Turn products x [R, V] (or `columns` of them) into logits, in place. What `backward` needs comes back."""
        product = None if self.d_column_scale is None else spare.pop().copy_(x)
        if self.column_scale is not None:
            x.mul_(self.column_scale[columns])
        if self.bias is not None:
            x.add_(self.bias[columns])
        if self.logit_scale != 1.0:
            x.mul_(self.logit_scale)
        if self.softcap is None:
            return product, None
        return product, _cap(x, self.softcap, spare.pop() if self.differentiated else None)

    def backward(self, x: Tensor, kept: tuple[Tensor | None, ...], columns: slice = slice(None)) -> None:
        """Turn the gradient x of the logits into that of the products, in place; bias and scale get their shares."""
        product, slope = kept
        if slope is not None:
            x.mul_(slope)
        if self.d_bias is not None:
            self.d_bias[columns].add_(x.sum(0))
        if product is not None and self.d_column_scale is not None:
            self.d_column_scale[columns].add_(product.mul_(x).sum(0))
        if self.column_scale is not None:
            x.mul_(self.column_scale[columns])

    def gradients(self, problem: Problem) -> dict[str, Tensor]:
        """What `backward` has summed for the bias and the scale, in their dtypes."""
        sums = {"bias": (self.d_bias, problem.bias), "column_scale": (self.d_column_scale, problem.column_scale)}
        return {name: d.to(x.dtype) for name, (d, x) in sums.items() if d is not None and x is not None}


def _cap(x: Tensor, softcap: float, slope: Tensor | None) -> Tensor | None:
    """Cap x in place; into `slope`, where there is one, goes the derivative of the cap, 1 - tanh^2."""
    x.div_(softcap).tanh_()
    if slope is not None:
        torch.mul(x, x, out=slope).neg_().add_(1.0)
    x.mul_(softcap)
    return slope
