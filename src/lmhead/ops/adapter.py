"""A low-rank adapter on a head: LoRA, and DoRA, without ever making the dense V x D update.

Its first product, hidden @ down.T, is N x R and left to autograd; the second, of width V, is made chunk by chunk inside
the op (head_products.py). That is also why dropout, several adapters and a learnt scale need nothing of the op.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from lmhead.errors import ArgumentError, ArgumentTypeError, require
from lmhead.ops.checks import check_tensor, require_numbers

_NORM_ROWS = 1024  # of the weight, at a time: some MiB in float32


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRankAdapter:
    """What LoRA adds to a head, or DoRA makes of it.

        update = scale * up @ down                                                 [V, D], never made
        LoRA:    hidden @ (weight + update).T + bias
        DoRA:    magnitude / |weight + update| * (hidden @ (weight + update).T) + bias     |.|: norm of each row

    The norm is a constant to autograd, as in the paper and in PEFT.

    Source: Hu et al., "LoRA" (2021); Liu et al., "DoRA" (2024), section 4.3.
    """

    down: Tensor  # [R, D], PEFT's lora_A.weight
    up: Tensor  # [V, R], PEFT's lora_B.weight
    scale: float | Tensor = 1.0  # PEFT's scaling: alpha / R
    magnitude: Tensor | None = None  # [V], DoRA's
    dropout: float = 0.0  # of the hidden states that the adapter reads; 0 when evaluating


Adapters = LowRankAdapter | Sequence[LowRankAdapter] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapted:
    """An adapter as the op takes it (ops/problem.py)."""

    hidden: Tensor | None = None  # [N, R]
    weight: Tensor | None = None  # [V, R]
    column_scale: Tensor | None = None  # [V]


def adapted(
    adapter: Adapters,
    hidden: Tensor,  # [N, D]
    weight: Tensor,  # [V, D]
    scored: Tensor,  # [N] bool
    compute_dtype: torch.dtype,
) -> Adapted:
    """The adapter's first product, the weight of its second, and DoRA's scale.

    Raises:
        ArgumentError: a shape or a combination breaks its rule.
        ArgumentTypeError: not a LowRankAdapter.
    """
    adapters = [] if adapter is None else [adapter] if isinstance(adapter, LowRankAdapter) else list(adapter)
    if not adapters:
        return Adapted()
    for one in adapters:
        _check(one, hidden, weight, alone=len(adapters) == 1)
    hidden = hidden.where(scored[:, None], 0)  # what is ignored may be NaN: its gradient is 0, and 0 * NaN is NaN
    ups = [one.up for one in adapters]
    firsts = [_first_product(one, hidden) for one in adapters]
    up = ups[0] if len(ups) == 1 else torch.cat(ups, 1)
    magnitude = adapters[0].magnitude
    return Adapted(
        hidden=firsts[0] if len(firsts) == 1 else torch.cat(firsts, 1),
        weight=up.to(compute_dtype) if up.dtype.itemsize < compute_dtype.itemsize else up,
        column_scale=None if magnitude is None else magnitude.float() / _row_norm(weight, adapters[0]),
    )


def _first_product(adapter: LowRankAdapter, hidden: Tensor) -> Tensor:
    if adapter.dropout:
        hidden = F.dropout(hidden, adapter.dropout)
    return F.linear(hidden.to(adapter.down.dtype), adapter.down) * adapter.scale


@torch.no_grad()
def _row_norm(weight: Tensor, adapter: LowRankAdapter) -> Tensor:
    """|weight + scale * up @ down| of each row [V], a few rows at a time, in float32 or wider."""
    wide = torch.promote_types(weight.dtype, torch.float32)
    with torch.autocast(weight.device.type, enabled=False):
        down = adapter.down.to(wide)
        parts = zip(torch.split(weight, _NORM_ROWS), torch.split(adapter.up, _NORM_ROWS), strict=True)
        rows = [torch.addmm(w.to(wide), (up * adapter.scale).to(wide), down).norm(dim=1) for w, up in parts]
    return torch.cat(rows)


def _check(adapter: LowRankAdapter, hidden: Tensor, weight: Tensor, *, alone: bool) -> None:
    if not isinstance(adapter, LowRankAdapter):
        raise ArgumentTypeError(f"adapter must be a LowRankAdapter or several, got {type(adapter).__name__}")
    for field in fields(adapter)[:2]:
        check_tensor(f"adapter.{field.name}", getattr(adapter, field.name), device=hidden.device)
    (V, D), down, up = weight.shape, adapter.down, adapter.up
    require(down.dim() == 2 and down.shape[1] == D, "adapter.down", f"be [R, {D}]", tuple(down.shape))
    R = down.shape[0]
    require(up.shape == (V, R), "adapter.up", f"be [V, R] = [{V}, {R}]", tuple(up.shape))
    if not isinstance(adapter.scale, Tensor):
        require_numbers(**{"adapter.scale": adapter.scale})
        require(math.isfinite(adapter.scale), "adapter.scale", "be finite", adapter.scale)
    require_numbers(**{"adapter.dropout": adapter.dropout})
    require(0.0 <= adapter.dropout < 1.0, "adapter.dropout", "be in [0, 1)", adapter.dropout)
    if adapter.magnitude is None:
        return
    check_tensor("adapter.magnitude", adapter.magnitude, device=hidden.device)
    require(adapter.magnitude.shape == (V,), "adapter.magnitude", f"be [V] = [{V}]", tuple(adapter.magnitude.shape))
    if not alone:
        raise ArgumentError("adapter must be one where it has a magnitude (DoRA), got several: merge the others first")
    require(not adapter.dropout, "adapter.dropout", "be 0 with a magnitude (DoRA)", adapter.dropout, "lora_dropout=0")
