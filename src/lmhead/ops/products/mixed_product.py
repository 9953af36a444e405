"""16-bit products added to a float32 total inside one call: cuBLAS can, nobody else does (torch 2.13)."""

import torch
from torch import Tensor


def runs(compute_dtype: torch.dtype, device: torch.device) -> bool:
    """Whether products of this dtype can be added to a float32 total without being rounded first."""
    return compute_dtype.itemsize == 2 and device.type == "cuda" and torch.version.hip is None


def add(total: Tensor, left: Tensor, right: Tensor, *, first: bool) -> None:
    """total = left @ right, or total += left @ right where it is not the `first`; both 16-bit, the total float32."""
    if first:
        torch.mm(left, right, out_dtype=total.dtype, out=total)
    else:
        torch.addmm(total, left, right, out_dtype=total.dtype, out=total)
