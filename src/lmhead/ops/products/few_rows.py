"""The product of a few rows with a weight, as decoding makes it: all of the weight is read for a handful of rows."""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_FEW: Final = 8  # rows


def linear(
    x: Tensor,  # [..., D]
    weight: Tensor,  # [V, D]
    bias: Tensor | None = None,  # [V]
) -> Tensor:
    """`torch.nn.functional.linear`; of 2 to 8 rows of float32 on a CPU, without gradients, the weight is on the left.

    Then the library takes the kernel for a tall matrix and a few columns, which reads the weight at the memory's rate:
    17 MB of weights and 4 rows take half the time (benchmarks/speculation.py).
    """
    if not _on_left(x, weight):
        return F.linear(x, weight, bias)
    rows = x.numel() // x.shape[-1]
    # Rows stay contiguous on both sides: for columns that are, the same call takes five times as long.
    made = torch.mm(weight, x.contiguous().view(rows, -1).t()).t().contiguous().view(*x.shape[:-1], len(weight))
    return made if bias is None else made + bias


def _on_left(x: Tensor, weight: Tensor) -> bool:
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False  # a graph that looks at the rows would be one of few rows, or of many
    if x.device.type != "cpu" or not (x.dtype == weight.dtype == torch.float32):
        return False
    if type(weight) not in (Tensor, nn.Parameter):  # a quantized weight has its own products
        return False
    return 0 < x.shape[-1] < x.numel() <= _FEW * x.shape[-1]


class Linear(nn.Linear):
    """nn.Linear by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)
