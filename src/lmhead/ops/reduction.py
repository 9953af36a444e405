"""From the losses of tokens to one: the reduction, the divisor, and the weight of each token."""

import math
from typing import Literal

import torch
from torch import Tensor

from lmhead.errors import ArgumentTypeError, require, require_choice
from lmhead.ops.checks import check_weights, require_numbers, require_wide
from lmhead.ops.tensor_values import may_be_read

Reduction = Literal["mean", "sum", "none"]


def check_reduction(reduction: str, divisor: float | Tensor | None) -> None:
    """Refuse a reduction or a divisor that no loss can have.

    Raises:
        ArgumentError: a value breaks its rule.
        ArgumentTypeError: the divisor is neither a number nor a Tensor.
    """
    require_choice("reduction", reduction, ("mean", "sum", "none"))
    if divisor is None:
        return
    require(reduction == "mean", "divisor", 'be given with reduction="mean" only', f"reduction={reduction!r}")
    if isinstance(divisor, Tensor):
        require(divisor.numel() == 1, "divisor", "be one number", f"a tensor of shape {tuple(divisor.shape)}")
        require(not divisor.is_complex(), "divisor", "be a real number", divisor.dtype)
        require_wide("divisor", divisor)  # the number of tokens: 257 is 256 in bfloat16
        require(not divisor.requires_grad, "divisor", "not require a gradient", "one that does", "detach it")
        if may_be_read(divisor):
            # 0 is what ranks that score nothing sum up to: the loss is 0 then
            require(0 <= divisor.item() < math.inf, "divisor", "be finite and >= 0", divisor.item())
    elif isinstance(divisor, int | float):
        require_numbers(divisor=divisor)
        require(0 < divisor < math.inf, "divisor", "be finite and > 0", divisor)
    else:
        raise ArgumentTypeError(f"divisor must be a number or a Tensor, got {type(divisor).__name__}")


def weight_of_each(
    ids: Tensor,  # [N], or [N, K]
    shape: torch.Size,  # the caller's, of ids
    V: int,
    token_weight: Tensor | None,  # [shape]
    class_weight: Tensor | None,  # [V]
    *,
    dtype: torch.dtype,  # the loss's: a product of two 16-bit weights may be out of their range
    device: torch.device | None = None,  # where the weights have to be; None: they are moved to the ids
) -> Tensor | None:
    """What each token's loss is multiplied with, in the shape of `ids`; None where all are 1.

    Weights of tokens in 16 bits are refused: nobody can tell them from those that a mixed precision policy has cast.
    Weights of classes may have them, as torch's have to where the logits have.

    Raises:
        ArgumentError: weights of another shape, kind or device, or with a value that no weight can have.
        ArgumentTypeError: weights that are no Tensor.
    """
    weights = None
    if token_weight is not None:
        check_weights("token_weight", token_weight, shape, device=device)
        require_wide("token_weight", token_weight)
        weights = token_weight.reshape(ids.shape).to(ids.device, dtype)
    if class_weight is not None:
        check_weights("class_weight", class_weight, (V,), device=device)
        inside = (ids >= 0) & (ids < V)  # what is outside is refused later, or ignored
        of_class = class_weight.to(ids.device, dtype)[ids.where(inside, 0)].where(inside, 1)
        weights = of_class if weights is None else weights * of_class
    return weights


def coefficient_of(
    weights: Tensor | None,  # None: all are 1
    scored: Tensor,  # bool
    reduction: Reduction,  # "mean" or "sum"
    divisor: float | Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    """What each loss is multiplied with before the sum, in the shape of `scored`; of those not scored it is not read.

    (NaN, where nothing is scored.)
    """
    if weights is None:
        weights = scored.new_ones((), dtype=dtype).expand(scored.shape)
    if reduction == "sum":
        return weights.contiguous()
    if divisor is None:
        divisor = weights.where(scored, 0).sum()
    elif isinstance(divisor, Tensor):
        divisor = divisor.reshape(()).to(weights)
    return weights / divisor
