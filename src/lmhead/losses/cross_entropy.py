"""The cross entropy of logits that somebody already has: same options, same exactness as lmhead.linear_cross_entropy.

Checks, weights and reductions; the rows themselves are blocked_rows.py's. Whoever has hidden states and the head's
weight needs no logits at all: lmhead.linear_cross_entropy.
"""

from typing import Literal, overload

import torch
from torch import Tensor

from lmhead.errors import IGNORE_INDEX, ArgumentTypeError, require
from lmhead.losses.blocked_rows import RowOptions, row_losses
from lmhead.ops.checks import check_choices, check_loss_options, check_weights, require_targets_in_range
from lmhead.ops.linear_cross_entropy import Reduction
from lmhead.ops.problem import TokenStatistics


@overload
def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    token_weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    reduction: Reduction = "mean",
    divisor: float | Tensor | None = None,
    return_stats: Literal[False] = False,
) -> Tensor: ...


@overload
def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    token_weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    reduction: Reduction = "mean",
    divisor: float | Tensor | None = None,
    return_stats: Literal[True],
) -> tuple[Tensor, TokenStatistics]: ...


def cross_entropy(
    logits: Tensor,  # [..., V]
    targets: Tensor,  # [...]
    *,
    token_weight: Tensor | None = None,  # [...]
    class_weight: Tensor | None = None,  # [V]
    ignore_index: int = IGNORE_INDEX,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    reduction: Reduction = "mean",
    divisor: float | Tensor | None = None,
    return_stats: bool = False,
) -> Tensor | tuple[Tensor, TokenStatistics]:
    """The cross entropy of `logits` against `targets`, in nats: a scalar, or [...] with reduction="none".

    Equal to

        lse  = logits.float().logsumexp(-1)
        loss = (1 - label_smoothing) * (lse - logits[target]) + label_smoothing * (lse - logits.mean(-1))
        loss = (loss + z_loss * lse ** 2) * token_weight * class_weight[target]
        mean = loss[scored].sum() / (divisor or the scored tokens' summed weights)

    in float32 or wider whatever the logits' dtype, exact where p(target) -> 1. Targets are already shifted
    (`causal_lm_loss` takes labels). Ignored positions (target `ignore_index`, or weight 0) may hold anything, NaN too;
    nothing scored gives a differentiable 0.

    Args:
        divisor: what the sum is divided by where this batch is a part of something larger. Only with "mean".
        return_stats: also return TokenStatistics (nll, lse, entropy, hit, scored) in the targets' shape.

    Raises:
        ArgumentError: a shape, an option or a target breaks its rule.

    Example:
        >>> logits = torch.tensor([[1.0, 2.0, 0.5, -1.0]])
        >>> round(cross_entropy(logits, torch.tensor([1])).item(), 6)
        0.495182
    """
    _check(logits, targets, label_smoothing, z_loss, reduction, divisor, ignore_index, return_stats)
    V = logits.shape[-1]
    ids = targets.reshape(-1).to(logits.device).long()
    weight = _row_weight(ids, token_weight, class_weight, logits)
    scored = (ids != ignore_index) if weight is None else (ids != ignore_index) & (weight != 0)
    require_targets_in_range(ids.where(scored, ignore_index), V, ignore_index)
    options = RowOptions(label_smoothing=label_smoothing, z_loss=z_loss, statistics=return_stats)
    loss, statistics = row_losses(logits.reshape(-1, V), ids, scored, options)
    result = _reduced(loss, weight, scored, reduction, divisor)
    if reduction == "none":
        result = result.reshape(targets.shape)
    if not return_stats:
        return result
    return result, statistics.each(lambda column: column.reshape(targets.shape))


def _reduced(
    loss: Tensor, weight: Tensor | None, scored: Tensor, reduction: Reduction, divisor: float | Tensor | None
) -> Tensor:
    weights = scored.to(loss.dtype) if weight is None else weight.to(loss.dtype).where(scored, 0)
    if reduction == "none":
        return loss * weights
    if reduction == "mean":
        divisor = weights.sum() if divisor is None else divisor
        divisor = divisor.to(loss) if isinstance(divisor, Tensor) else divisor
        weights = torch.where(scored, weights / divisor, 0.0)  # nothing scored: 0 / 0 is not looked at
    return (loss * weights).sum()


def _row_weight(ids: Tensor, token_weight: Tensor | None, class_weight: Tensor | None, logits: Tensor) -> Tensor | None:
    """Weight of each row [N], None where all are 1."""
    if token_weight is not None:
        check_weights("token_weight", token_weight, logits.shape[:-1])
    weights = None if token_weight is None else token_weight.reshape(-1).to(logits.device)
    if class_weight is not None:
        V = logits.shape[-1]
        check_weights("class_weight", class_weight, (V,))
        inside = (ids >= 0) & (ids < V)
        of_class = class_weight.to(logits.device)[ids.where(inside, 0)].where(inside, 1)  # outside is refused below
        weights = of_class if weights is None else weights * of_class
    return weights


def _check(
    logits: Tensor,
    targets: Tensor,
    label_smoothing: float,
    z_loss: float,
    reduction: str,
    divisor: float | Tensor | None,
    ignore_index: int,
    return_stats: bool,
) -> None:
    for name, tensor in (("logits", logits), ("targets", targets)):
        if not isinstance(tensor, Tensor):
            raise ArgumentTypeError(f"{name} must be a Tensor, got {type(tensor).__name__}")
    require(logits.is_floating_point(), "logits", "be floating point", logits.dtype)
    require(logits.dim() >= 1 and logits.shape[-1] > 0, "logits", "be [..., V] with V > 0", tuple(logits.shape))
    integral = not (targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool)
    require(integral, "targets", "be integers (token ids)", targets.dtype)
    leading = logits.shape[:-1]
    require(targets.shape == leading, "targets", f"have the logits' leading dimensions {tuple(leading)}", targets.shape)
    check_loss_options(label_smoothing, z_loss, reduction, divisor)
    check_choices(ignore_index, None, return_stats=return_stats)
