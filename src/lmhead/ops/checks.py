"""The rules for options, weights and targets, for every loss that takes them: from hidden states or from logits."""

import math

import torch
from torch import Tensor

from lmhead.errors import ArgumentError, ArgumentTypeError, require


def check_loss_options(label_smoothing: float, z_loss: float, reduction: str, divisor: float | Tensor | None) -> None:
    """Refuse a smoothing, a z-loss, a reduction or a divisor that no loss can have.

    Raises:
        ArgumentError: a value breaks its rule.
        ArgumentTypeError: the divisor is neither a number nor a Tensor.
    """
    require(0.0 <= label_smoothing < 1.0, "label_smoothing", "be in [0, 1)", label_smoothing)
    require(0.0 <= z_loss < math.inf, "z_loss", "be finite and >= 0", z_loss)
    require(reduction in ("mean", "sum", "none"), "reduction", "be mean, sum or none", repr(reduction))
    if divisor is None:
        return
    require(reduction == "mean", "divisor", 'be given with reduction="mean" only', f"reduction={reduction!r}")
    if isinstance(divisor, Tensor):
        require(divisor.numel() == 1, "divisor", "be one number", f"a tensor of shape {tuple(divisor.shape)}")
        require(not divisor.requires_grad, "divisor", "not require a gradient", "one that does", "detach it")
        if not torch.compiler.is_compiling() and divisor.device.type == "cpu":
            # 0 is what ranks that score nothing sum up to: the loss is 0 then
            require(0 <= divisor.item() < math.inf, "divisor", "be finite and >= 0", divisor.item())
    elif isinstance(divisor, int | float):
        require(0 < divisor < math.inf, "divisor", "be finite and > 0", divisor)
    else:
        raise ArgumentTypeError(f"divisor must be a number or a Tensor, got {type(divisor).__name__}")


def check_weights(name: str, weights: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse weights of another shape or kind; and, where it costs no wait, negative and non-finite ones.

    Raises:
        ArgumentError: a shape, a dtype or a value breaks its rule.
        ArgumentTypeError: not a Tensor.
    """
    if not isinstance(weights, Tensor):
        raise ArgumentTypeError(f"{name} must be a Tensor, got {type(weights).__name__}")
    require(weights.is_floating_point(), name, "be floating point", weights.dtype)
    require(weights.shape == shape, name, f"have the shape {tuple(shape)}", tuple(weights.shape))
    require(
        not weights.requires_grad,
        name,
        "not require a gradient",
        "one that does",
        'detach it, or take reduction="none" and multiply',
    )
    if torch.compiler.is_compiling() or weights.device.type != "cpu":
        return  # would break the graph, or make the host wait
    wrong = ~(weights.isfinite() & (weights >= 0))
    if bool(wrong.any()):
        raise ArgumentError(f"{name} must be finite and >= 0, got {weights[wrong][0].item()}: use 0 to ignore a token")


def require_targets_in_range(
    targets: Tensor,  # [N]
    vocab_size: int,
    ignore_index: int,
) -> None:
    """Refuse a target that is neither in [0, V) nor ignore_index, before it reads out of bounds.

    Raises:
        ArgumentError: names the first such target and its position.
    """
    wrong = (targets != ignore_index) & ((targets < 0) | (targets >= vocab_size))
    if bool(wrong.any()):
        index = int(wrong.nonzero()[0])
        raise ArgumentError(
            f"targets must be in [0, {vocab_size}) or ignore_index={ignore_index}, got {int(targets[index])} at "
            f"flattened position {index}: is the tokenizer's vocabulary the head's? Mask with ignore_index"
        )
