"""The cross entropy of logits that somebody already has: same options, same exactness as lmhead.linear_cross_entropy.

Checks, weights and reductions; the rows themselves are blocked_rows.py's. Whoever has hidden states and the head's
weight needs no logits at all: lmhead.linear_cross_entropy.
"""

from typing import Literal, Unpack, overload

import torch
from torch import Tensor

from lmhead.errors import IGNORE_INDEX, ArgumentTypeError, require
from lmhead.losses.blocked_rows import row_losses
from lmhead.ops.checks import check_choices, require_targets_in_range
from lmhead.ops.keywords import ScoredKeywords
from lmhead.ops.loss_options import LossOptions
from lmhead.ops.problem import TokenStatistics, accumulation_dtype, outputs_wanted_by, require_counts
from lmhead.ops.reduction import Reduction, check_reduction, coefficient_of, weight_of_each


@overload
def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    token_weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    return_stats: Literal[False] = False,
    **options: Unpack[ScoredKeywords],
) -> Tensor: ...


@overload
def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    token_weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    return_stats: Literal[True],
    **options: Unpack[ScoredKeywords],
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
    ranks: bool = False,
    top_k: int | None = None,
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
        ranks: with return_stats: the rank of each target among all tokens too, for top-k accuracy.
        top_k: with return_stats: the k most probable tokens of each position too, and their log p.

    Raises:
        ArgumentError: a shape, an option or a target breaks its rule.
        ArgumentTypeError: an argument is of the wrong kind.

    Example:
        >>> logits = torch.tensor([[1.0, 2.0, 0.5, -1.0]])
        >>> round(cross_entropy(logits, torch.tensor([1])).item(), 6)
        0.495182
    """
    _check(logits, targets)
    check_choices(ignore_index, None)
    outputs = outputs_wanted_by(return_stats=return_stats, ranks=ranks, top_k=top_k)
    options = LossOptions.checked(label_smoothing=label_smoothing, z_loss=z_loss)
    check_reduction(reduction, divisor)
    V, dtype = logits.shape[-1], accumulation_dtype(logits.dtype)
    ids = targets.reshape(-1).to(logits.device).long()
    weight = weight_of_each(ids, targets.shape, V, token_weight, class_weight, dtype=dtype)
    scored = (ids != ignore_index) if weight is None else (ids != ignore_index) & (weight != 0)
    require_targets_in_range(ids.where(scored, ignore_index), V, ignore_index)
    require_counts(outputs, V)
    solved = row_losses(logits.reshape(-1, V), ids, scored, options, outputs)
    if reduction == "none":
        loss = (solved.loss if weight is None else solved.loss * weight.where(scored, 0)).reshape(targets.shape)
    else:
        coefficient = coefficient_of(weight, scored, reduction, divisor, dtype)
        loss = (solved.loss * coefficient.where(scored, 0)).sum()
    if not return_stats:
        return loss
    return loss, TokenStatistics.of_rows(solved.rows, scored[:, None], shape=targets.shape, leading=targets.shape)


def _check(logits: Tensor, targets: Tensor) -> None:
    for name, tensor in (("logits", logits), ("targets", targets)):
        if not isinstance(tensor, Tensor):
            raise ArgumentTypeError(f"{name} must be a Tensor, got {type(tensor).__name__}")
    require(logits.is_floating_point(), "logits", "be floating point", logits.dtype)
    require(logits.dim() >= 1 and logits.shape[-1] > 0, "logits", "be [..., V] with V > 0", tuple(logits.shape))
    integral = not (targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool)
    require(integral, "targets", "be integers (token ids)", targets.dtype)
    leading = logits.shape[:-1]
    require(targets.shape == leading, "targets", f"have the logits' leading dimensions {tuple(leading)}", targets.shape)
