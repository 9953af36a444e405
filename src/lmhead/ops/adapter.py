"""A low-rank adapter on a head: LoRA, and DoRA, without ever making the dense V x D update.

Its first product, hidden @ down.T, is N x R and left to autograd; the second, of width V, is made chunk by chunk inside
the op (head_products.py). That is also why dropout, several adapters and a learnt scale need nothing of the op.
"""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from lmhead.errors import ArgumentError, ArgumentTypeError, require
from lmhead.ops.checks import check_tensor, require_numbers
from lmhead.ops.problem import accumulation_dtype

_NORM_ROWS = 1024  # of the weight, at a time: some MiB in float32


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRankAdapter:
    """What LoRA adds to a head, or DoRA makes of it.

        update = scale * up @ down                                                 [V, D], never made
        LoRA:    hidden @ (weight + update).T + bias
        DoRA:    magnitude / |weight + update| * (hidden @ (weight + update).T) + bias     |.|: norm of each row

    The norm is a constant to autograd, as in the paper and in PEFT.

    Example:
        >>> import torch
        >>> from lmhead import linear_cross_entropy
        >>> adapter = LowRankAdapter(down=torch.zeros(2, 8), up=torch.zeros(16, 2), scale=2.0)  # rank 2
        >>> hidden, weight, targets = torch.ones(3, 8), torch.zeros(16, 8), torch.tensor([1, 2, 3])
        >>> linear_cross_entropy(hidden, weight, targets, adapter=adapter).item()  # log 16
        2.7725887298583984

    Source: Hu et al., "LoRA" (2021); Liu et al., "DoRA" (2024), section 4.3.
    """

    down: Tensor  # [R, D], PEFT's lora_A.weight
    up: Tensor  # [V, R], PEFT's lora_B.weight
    scale: float | Tensor = 1.0  # PEFT's scaling: alpha / R; a Tensor [] may be learnt
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
    adapters = as_tuple(adapter)
    if not adapters:
        return Adapted()
    for one in adapters:
        _check(one, hidden, weight)
        if one.magnitude is not None and len(adapters) > 1:
            raise ArgumentError("adapter must be one where it has a magnitude (DoRA), got several: merge the others")
    hidden = hidden.where(scored[:, None], 0)  # what is ignored may be NaN: its gradient is 0, and 0 * NaN is NaN
    ups = [one.up for one in adapters]
    firsts = [_first_product(one, hidden) for one in adapters]
    up = ups[0] if len(ups) == 1 else torch.cat(ups, 1)
    wide = accumulation_dtype(compute_dtype)
    return Adapted(
        hidden=firsts[0] if len(firsts) == 1 else torch.cat(firsts, 1),
        weight=up if up.dtype in (compute_dtype, wide) else up.to(wide),
        column_scale=_column_scale(adapters[0], weight),
    )


def as_tuple(adapter: Adapters) -> tuple[LowRankAdapter, ...]:
    """The adapters that were given: none, one or several.

    Raises:
        ArgumentTypeError: not a LowRankAdapter.
    """
    if adapter is None:
        return ()
    adapters = (adapter,) if isinstance(adapter, LowRankAdapter) or not isinstance(adapter, Sequence) else adapter
    for one in adapters:
        if not isinstance(one, LowRankAdapter):
            raise ArgumentTypeError(f"adapter must be a LowRankAdapter or several, got {type(one).__name__}")
    return tuple(adapters)


def _first_product(adapter: LowRankAdapter, hidden: Tensor) -> Tensor:
    if adapter.dropout:
        hidden = F.dropout(hidden, adapter.dropout)
    return F.linear(hidden.to(adapter.down.dtype), adapter.down) * adapter.scale


def _column_scale(adapter: LowRankAdapter, weight: Tensor) -> Tensor | None:
    """DoRA's magnitude by norm [V], in float32 or wider."""
    if adapter.magnitude is None:
        return None
    norm = _row_norm(weight, adapter)
    return adapter.magnitude.to(norm.dtype) / norm


@torch.no_grad()
def _row_norm(weight: Tensor, adapter: LowRankAdapter) -> Tensor:
    """|weight + scale * up @ down| of each row [V], a few rows at a time, in float32 or wider."""
    wide = torch.promote_types(weight.dtype, torch.float32)
    device = weight.device.type
    off = torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()
    with off:
        down = adapter.down.to(wide)
        parts = zip(torch.split(weight, _NORM_ROWS), torch.split(adapter.up, _NORM_ROWS), strict=True)
        rows = [torch.addmm(w.to(wide), (up * adapter.scale).to(wide), down).norm(dim=1) for w, up in parts]
    return torch.cat(rows)


def _check(adapter: LowRankAdapter, hidden: Tensor, weight: Tensor) -> None:
    for field in fields(adapter)[:2]:
        check_tensor(f"adapter.{field.name}", getattr(adapter, field.name), device=hidden.device)
    (V, D), down, up = weight.shape, adapter.down, adapter.up
    fits = down.dim() == 2 and down.shape[0] > 0 and down.shape[1] == D
    require(fits, "adapter.down", f"be [R, {D}] with R > 0", tuple(down.shape))
    R = down.shape[0]
    require(up.shape == (V, R), "adapter.up", f"be [V, R] = [{V}, {R}]", tuple(up.shape))
    if isinstance(adapter.scale, Tensor):
        check_tensor("adapter.scale", adapter.scale, device=hidden.device)
        require(adapter.scale.dim() == 0, "adapter.scale", "be one number", f"shape {tuple(adapter.scale.shape)}")
    else:
        require_numbers(**{"adapter.scale": adapter.scale})
        require(math.isfinite(adapter.scale), "adapter.scale", "be finite", adapter.scale)
    require_numbers(**{"adapter.dropout": adapter.dropout})
    require(0.0 <= adapter.dropout < 1.0, "adapter.dropout", "be in [0, 1)", adapter.dropout)
    if adapter.magnitude is None:
        return
    check_tensor("adapter.magnitude", adapter.magnitude, device=hidden.device)
    require(adapter.magnitude.shape == (V,), "adapter.magnitude", f"be [V] = [{V}]", tuple(adapter.magnitude.shape))
    remedy = "train DoRA without dropout"
    require(not adapter.dropout, "adapter.dropout", "be 0 with a magnitude (DoRA)", adapter.dropout, remedy)
