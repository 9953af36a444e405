"""torch's cross_entropy of lazy logits: the op, where it computes what was asked for."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lmhead.models.transformers.patching.call_context import CallContext
from lmhead.ops.linear_cross_entropy import linear_cross_entropy
from lmhead.ops.reduction import Reduction

if TYPE_CHECKING:
    from lmhead.models.transformers.patching.lazy_logits import LazyLogits


def fused_cross_entropy(
    input: "LazyLogits",  # [N, V]; the names are torch's
    target: Tensor,  # [N]
    weight: Tensor | None = None,  # [V]
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor | None:
    """`torch.nn.functional.cross_entropy(input, target, ...)` without the logits, statistics kept aside.

    None where the logits have to be made: targets that are probabilities, logits that are not [N, V], smoothing with
    class weights (torch weighs it by class), a deprecated argument, or steps in between that the op does not know.
    """
    if not isinstance(target, Tensor) or target.is_floating_point():
        return None
    if input.dim() != 2 or target.dim() != 1 or size_average is not None or reduce is not None:
        return None
    if weight is not None and label_smoothing:
        return None
    if input.head.state.handing_out:  # whoever gets the logits takes their loss
        wide = torch.promote_types(input.hidden.dtype, torch.float32)
        return torch.zeros(target.shape if reduction == "none" else (), dtype=wide, device=input.device)
    if input.context == CallContext.current(input.context.kind):
        return _by_the_op(input, target, weight, ignore_index, reduction, label_smoothing)
    # the product runs in the modes of the layer's call, as the logits would have been made in
    grad = input.context.grad and torch.is_grad_enabled()
    with input.context.autocasts(), torch.set_grad_enabled(grad):
        return _by_the_op(input, target, weight, ignore_index, reduction, label_smoothing)


def _by_the_op(
    input: "LazyLogits",
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: Reduction,
    label_smoothing: float,
) -> Tensor | None:
    linear = input.linear()
    if linear is None:
        return None
    loss, statistics = linear_cross_entropy(
        input.hidden,
        linear.weight,
        target,
        bias=linear.bias,
        adapter=linear.adapters,
        class_weight=weight,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        softcap=linear.softcap,
        logit_scale=linear.logit_scale,
        reduction=reduction,
        return_stats=True,
    )
    input.head.state.took_loss(statistics, input)
    return loss
