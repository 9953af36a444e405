"""The rules for tensors, weights, targets and a head's options, for every loss: from hidden states or from logits."""

import torch
from torch import Tensor

from lmhead.errors import ArgumentError, ArgumentTypeError, require
from lmhead.ops.tensor_values import has_values, is_dtensor, may_be_read

_LARGEST = torch.finfo(torch.float32).max


def require_numbers(**options: object) -> None:
    """Refuse an option that is not a number, before it is compared with one.

    Raises:
        ArgumentTypeError: names the first such option.
    """
    for name, value in options.items():
        if not isinstance(value, int | float | torch.SymInt | torch.SymFloat):
            raise ArgumentTypeError(f"{name} must be a number, got {type(value).__name__}")
        if isinstance(value, int):
            require(-(2**63) <= value < 2**63, name, "fit into 64 bits", value)


def require_sizes(*, least: int = 1, **sizes: object) -> None:
    """Refuse a size that is no whole number, or under `least`.

    Raises:
        ArgumentError: it is under `least`.
        ArgumentTypeError: it is no integer.
    """
    for name, size in sizes.items():
        if not isinstance(size, int | torch.SymInt):
            raise ArgumentTypeError(f"{name} must be an integer, got {type(size).__name__}")
        require(bool(size >= least), name, f"be >= {least}", size)


def check_head_options(
    softcap: float | None, logit_scale: float, memory_budget: int | None, *, whose: str = ""
) -> None:
    """Refuse a softcap, a scale or a budget that no head can have.

    Args:
        whose: put before the names in a message, e.g. "teacher_".

    Raises:
        ArgumentError: a value breaks its rule.
        ArgumentTypeError: an option is not a number.
    """
    require_numbers(**{f"{whose}softcap": 1 if softcap is None else softcap, f"{whose}logit_scale": logit_scale})
    good = softcap is None or 0.0 < softcap < _LARGEST
    require(good, f"{whose}softcap", "be finite and > 0", softcap, "None is off")
    require(-_LARGEST < logit_scale < _LARGEST, f"{whose}logit_scale", "be finite", logit_scale)
    if memory_budget is None:
        return
    if not isinstance(memory_budget, int | torch.SymInt):
        raise ArgumentTypeError(f"memory_budget must be a whole number of bytes, got {type(memory_budget).__name__}")
    require(0 < memory_budget < 2**63, "memory_budget", "be > 0 bytes and fit into 64 bits", memory_budget)


def check_choices(ignore_index: int, backend: str | None, **switches: bool) -> None:
    """Refuse an id, a name or a switch of another kind.

    Raises:
        ArgumentError: `ignore_index` is no 64-bit integer.
        ArgumentTypeError: names the argument.
    """
    if not isinstance(ignore_index, int | torch.SymInt):
        raise ArgumentTypeError(f"ignore_index must be an integer, got {type(ignore_index).__name__}")
    require(-(2**63) <= ignore_index < 2**63, "ignore_index", "fit into 64 bits", ignore_index)
    if not isinstance(backend, str | None):
        raise ArgumentTypeError(f"backend must be a name or None, got {type(backend).__name__}")
    for name, switch in switches.items():
        if not isinstance(switch, bool):
            raise ArgumentTypeError(f"{name} must be True or False, got {type(switch).__name__}")


def check_tensor(name: str, tensor: object, *, integral: bool = False, device: torch.device | None = None) -> None:
    """Refuse what is not a plain Tensor of the right kind, on the right device.

    Raises:
        ArgumentError: a DTensor, another device or another kind of dtype.
        ArgumentTypeError: not a Tensor.
    """
    if not isinstance(tensor, Tensor):
        raise ArgumentTypeError(f"{name} must be a Tensor, got {type(tensor).__name__}")
    if is_dtensor(tensor):
        raise ArgumentError(
            f"{name} must be a plain Tensor, got a DTensor (a sharded one): call it where the shards are gathered, "
            'in a method of the module that fully_shard was called on, register_fsdp_forward_method(module, "loss"); '
            "full_tensor() gives a wrong gradient"
        )
    require(device in (None, tensor.device), name, f"be on hidden's device {device}", tensor.device, "move it")
    if integral:
        fits = not tensor.is_floating_point() and tensor.dtype != torch.bool and not tensor.is_complex()
        require(fits, name, "be integers (token ids)", tensor.dtype)
    else:
        require(tensor.is_floating_point(), name, "be floating point", tensor.dtype)


def check_head(hidden: Tensor, weight: Tensor, bias: Tensor | None, *, whose: str = "") -> None:
    """Refuse hidden states [..., D], a weight [V, D] and a bias [V] that do not fit together.

    Args:
        whose: put before the names in a message, e.g. "teacher_".

    Raises:
        ArgumentError: a shape, a dtype or a device breaks its rule.
        ArgumentTypeError: not a Tensor.
    """
    check_tensor(f"{whose}hidden", hidden)
    check_tensor(f"{whose}weight", weight, device=hidden.device)
    D = hidden.shape[-1] if hidden.dim() else 0
    require(D > 0, f"{whose}hidden", "be [..., D] with D > 0", tuple(hidden.shape))
    fits = weight.dim() == 2 and weight.shape[0] > 0
    require(fits, f"{whose}weight", "be [V, D] with V > 0", tuple(weight.shape))
    require(weight.shape[1] == D, f"{whose}weight", f"be [V, {D}], D as in {whose}hidden", tuple(weight.shape))
    if bias is not None:
        check_tensor(f"{whose}bias", bias, device=hidden.device)
        require(bias.shape == weight.shape[:1], f"{whose}bias", f"be [V] = [{weight.shape[0]}]", tuple(bias.shape))


def product_dtype(hidden: Tensor, weight: Tensor, *, whose: str = "") -> torch.dtype:
    """What the matrix products run in: autocast's dtype where that is on, else the one that both have.

    Raises:
        ArgumentError: they have two, outside autocast.
    """
    device = hidden.device.type
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    if autocast and hidden.dtype != torch.float64:
        return torch.get_autocast_dtype(device)
    require(
        hidden.dtype == weight.dtype,
        f"{whose}hidden and {whose}weight",
        "have one dtype outside autocast, which leaves float64 alone",
        f"{hidden.dtype} and {weight.dtype}",
        "cast one of them, or run under torch.autocast",
    )
    return hidden.dtype


def check_weights(name: str, weights: Tensor, shape: tuple[int, ...], *, device: torch.device | None = None) -> None:
    """Refuse weights of another shape, kind or device; and, where it costs no wait, negative and non-finite ones.

    Raises:
        ArgumentError: a shape, a dtype or a value breaks its rule.
        ArgumentTypeError: not a Tensor.
    """
    check_tensor(name, weights, device=device)
    require(weights.shape == shape, name, f"have the shape {tuple(shape)}", tuple(weights.shape))
    require(
        not weights.requires_grad,
        name,
        "not require a gradient",
        "one that does",
        'detach it, or take reduction="none" and multiply',
    )
    if not may_be_read(weights):
        return
    wrong = ~(weights.isfinite() & (weights >= 0))
    if bool(wrong.any()):
        raise ArgumentError(f"{name} must be finite and >= 0, got {weights[wrong][0].item()}: use 0 to ignore a token")


def require_wide(name: str, tensor: Tensor) -> None:
    """Refuse 16 bits, to which mixed precision policies cast whatever a module is called with: counts would be rounded.

    Raises:
        ArgumentError: it is of float16, bfloat16 or less.
    """
    if tensor.is_floating_point() and tensor.dtype.itemsize < 4:
        raise ArgumentError(
            f"{name} must have 32 bits or more, got {tensor.dtype}, which rounds it: give {name}.float(), and where "
            "FSDP casts what it is called with, MixedPrecisionPolicy(..., cast_forward_inputs=False)"
        )


def require_targets_in_range(
    targets: Tensor,  # [N], or [N, K] where a row has several
    vocab_size: int,
    ignore_index: int,
) -> None:
    """Refuse a target that is neither in [0, V) nor ignore_index, before it reads out of bounds.

    Targets without values (traced, fake, batched by vmap) pass: what runs later has to refuse them, as torch's gather
    does.

    Raises:
        ArgumentError: names the first such target and its position.
    """
    if not has_values(targets):
        return
    wrong = (targets != ignore_index) & ((targets < 0) | (targets >= vocab_size))
    if bool(wrong.any()):
        index = int(wrong.reshape(-1).nonzero()[0])
        target = int(targets.reshape(-1)[index])
        raise ArgumentError(
            f"targets must be in [0, {vocab_size}) or ignore_index={ignore_index}, got {target} at "
            f"flattened position {index}: is the tokenizer's vocabulary the head's? Mask with ignore_index"
        )
