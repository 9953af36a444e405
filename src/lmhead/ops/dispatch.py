"""linear_cross_entropy: checks, reductions, and the table of back-ends."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal, overload

import torch
from torch import Tensor

from lmhead.errors import IGNORE_INDEX, ArgumentError, ArgumentTypeError, require
from lmhead.ops import chunked, chunked_autograd, reference
from lmhead.ops.checks import check_loss_options, check_weights
from lmhead.ops.problem import Problem, TokenStatistics, accumulation_dtype

Reduction = Literal["mean", "sum", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One way to run a Problem. `refusal` says why it cannot, None when it can."""

    refusal: Callable[[Problem], str | None]
    run: Callable[[Problem, Tensor | None], tuple[Tensor, TokenStatistics]]


BACKENDS: dict[str, Backend] = {  # fastest first; the first that does not refuse runs
    "chunked": Backend(refusal=chunked.refusal, run=chunked_autograd.run),
    "reference": Backend(refusal=reference.refusal, run=reference.run),
}


@overload
def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    token_weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    reduction: Reduction = "mean",
    divisor: float | Tensor | None = None,
    return_stats: Literal[False] = False,
    memory_budget: int | None = None,
    backend: str | None = None,
) -> Tensor: ...


@overload
def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    token_weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    ignore_index: int = IGNORE_INDEX,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    reduction: Reduction = "mean",
    divisor: float | Tensor | None = None,
    return_stats: Literal[True],
    memory_budget: int | None = None,
    backend: str | None = None,
) -> tuple[Tensor, TokenStatistics]: ...


def linear_cross_entropy(
    hidden: Tensor,  # [..., D]
    weight: Tensor,  # [V, D]
    targets: Tensor,  # [...]
    *,
    bias: Tensor | None = None,  # [V]
    token_weight: Tensor | None = None,  # [...]
    class_weight: Tensor | None = None,  # [V]
    ignore_index: int = IGNORE_INDEX,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    reduction: Reduction = "mean",
    divisor: float | Tensor | None = None,
    return_stats: bool = False,
    memory_budget: int | None = None,
    backend: str | None = None,
) -> Tensor | tuple[Tensor, TokenStatistics]:
    """The cross entropy of `hidden @ weight.T` against `targets`, in nats, without ever holding the logits.

    Equal to

        logits = cap(logit_scale * (hidden @ weight.T + bias))        # cap(x) = softcap * tanh(x / softcap)
        lse    = logits.logsumexp(-1)
        loss   = (1 - label_smoothing) * (lse - logits[target]) + label_smoothing * (lse - logits.mean(-1))
        loss   = (loss + z_loss * lse ** 2) * token_weight * class_weight[target]
        mean   = loss[scored].sum() / (divisor or the scored tokens' summed weights)

    Targets are already shifted: `targets[t]` is the token to predict from `hidden[t]` (lmhead.causal_lm_loss takes
    labels). Rows that are ignored (target `ignore_index`, or weight 0) cost nothing and may hold anything, NaN too.

    Args:
        divisor: what the sum is divided by where this batch is a part of something larger: accumulated
            micro-batches, ranks. Only with reduction="mean".
        return_stats: also return TokenStatistics (nll, lse, entropy, hit, scored), from the same pass.
        memory_budget: bytes beyond the gradients, and beyond one float32 accumulator [V, D] where the head is of 16
            bits and the rows take more than one chunk. Default: 120 MiB on a CPU, 512 MiB elsewhere. A CPU keeps the
            buffer for the next call (`release_workspace`).
        backend: a name in BACKENDS; by default the first that takes the problem.

    Returns:
        A scalar, or with reduction="none" the shape of `targets`; float32, float64 for float64 inputs. Zero scored
        tokens give a differentiable 0.

    Raises:
        ArgumentError: a shape, a dtype, an option or a target breaks its rule.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> hidden, weight = torch.randn(2, 3, 8), torch.zeros(16, 8)
        >>> linear_cross_entropy(hidden, weight, torch.tensor([[1, 2, -100], [4, 5, 6]])).item()  # log 16
        2.7725887298583984

    Source: gradients in the forward as in Liger Kernel (Hsu et al. 2024); the bounded memory of Wijmans et al., "Cut
    Your Losses in Large-Vocabulary Language Models" (2024).
    """
    _check_tensors(hidden, weight, targets, bias, token_weight, class_weight)
    check_loss_options(label_smoothing, z_loss, reduction, divisor)
    _check_head_options(softcap, logit_scale, memory_budget)
    shape = targets.shape
    ids = targets.reshape(-1).long()
    compute_dtype = _compute_dtype(hidden, weight)
    row_weight = _row_weight(ids, token_weight, class_weight, accumulation_dtype(compute_dtype))
    if row_weight is not None:
        ids = ids.where(row_weight != 0, ignore_index)
    problem = Problem(
        hidden=hidden.reshape(-1, hidden.shape[-1]),
        weight=weight,
        targets=ids,
        bias=bias,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        z_loss=z_loss,
        softcap=softcap,
        logit_scale=logit_scale,
        compute_dtype=compute_dtype,
        memory_budget=chunked.default_memory_budget(hidden.device) if memory_budget is None else memory_budget,
        statistics=return_stats,
    )
    coefficient = None if reduction == "none" else _coefficient(problem, row_weight, reduction, divisor)
    loss, statistics = _choose(problem, backend).run(problem, coefficient)
    if reduction == "none":
        loss = (loss if row_weight is None else loss * row_weight).reshape(shape)
    if not return_stats:
        return loss
    shaped = {field.name: getattr(statistics, field.name).reshape(shape) for field in fields(statistics)}
    return loss, TokenStatistics(**shaped)


def _choose(problem: Problem, name: str | None) -> Backend:
    if name is not None:
        require(name in BACKENDS, "backend", f"be one of {', '.join(BACKENDS)}", repr(name))
        why_not = BACKENDS[name].refusal(problem)
        require(why_not is None, "backend", f"run this problem, which {name} refuses", why_not)
        return BACKENDS[name]
    reasons = []
    for candidate, backend in BACKENDS.items():
        why_not = backend.refusal(problem)
        if why_not is None:
            return backend
        reasons.append(f"{candidate}: {why_not}")
    raise ArgumentError("no back-end takes this problem; " + "; ".join(reasons))


def _row_weight(
    targets: Tensor, token_weight: Tensor | None, class_weight: Tensor | None, dtype: torch.dtype
) -> Tensor | None:
    """Weight of each row [N], None where all are 1; in the loss's dtype, whatever the weights' is."""
    weights = None if token_weight is None else token_weight.reshape(-1)
    if class_weight is not None:
        inside = (targets >= 0) & (targets < class_weight.shape[0])
        of_class = class_weight[targets.where(inside, 0)].where(inside, 1)  # the back-end refuses what is outside
        weights = of_class if weights is None else weights * of_class
    return None if weights is None else weights.to(dtype)


def _coefficient(
    problem: Problem, row_weight: Tensor | None, reduction: Reduction, divisor: float | Tensor | None
) -> Tensor:
    """What each row's loss is multiplied with before the sum [N]; rows that are ignored are never read."""
    weights = (
        problem.targets.new_ones((), dtype=accumulation_dtype(problem.compute_dtype))
        if row_weight is None
        else row_weight
    )
    weights = weights.expand(problem.targets.shape)
    if reduction == "sum":
        return weights.contiguous()
    if divisor is None:
        divisor = weights.where(problem.targets != problem.ignore_index, 0).sum()
    elif isinstance(divisor, Tensor):
        divisor = divisor.to(weights)
    return weights / divisor


def _compute_dtype(hidden: Tensor, weight: Tensor) -> torch.dtype:
    device = hidden.device.type
    if torch.is_autocast_enabled(device) and hidden.dtype != torch.float64:
        return torch.get_autocast_dtype(device)
    require(
        hidden.dtype == weight.dtype,
        "hidden and weight",
        "have one dtype outside autocast",
        f"{hidden.dtype} and {weight.dtype}",
        "cast one of them, or run under torch.autocast",
    )
    return hidden.dtype


def _check_tensors(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None,
    token_weight: Tensor | None,
    class_weight: Tensor | None,
) -> None:
    tensors = {
        "hidden": hidden,
        "weight": weight,
        "targets": targets,
        "bias": bias,
        "token_weight": token_weight,
        "class_weight": class_weight,
    }
    for name, tensor in tensors.items():
        if tensor is None and name in ("bias", "token_weight", "class_weight"):
            continue
        if not isinstance(tensor, Tensor):
            raise ArgumentTypeError(f"{name} must be a Tensor, got {type(tensor).__name__}")
        if type(tensor).__name__ == "DTensor":
            raise ArgumentError(
                f"{name} must be a plain Tensor, got a DTensor (a sharded one): call it where the shards are gathered, "
                'head.loss(...) with register_fsdp_forward_method(head, "loss"); full_tensor() gives a wrong gradient'
            )
        require(
            tensor.device == hidden.device, name, f"be on hidden's device {hidden.device}", tensor.device, "move it"
        )
        floating = tensor.is_floating_point()
        if name == "targets":
            integral = not floating and tensor.dtype != torch.bool and not tensor.is_complex()
            require(integral, name, "be integers (token ids)", tensor.dtype)
        else:
            require(floating, name, "be floating point", tensor.dtype)
    D = hidden.shape[-1] if hidden.dim() else 0
    require(D > 0, "hidden", "be [..., D] with D > 0", tuple(hidden.shape))
    require(weight.dim() == 2 and weight.shape[0] > 0, "weight", "be [V, D] with V > 0", tuple(weight.shape))
    require(weight.shape[1] == D, "weight", f"be [V, {D}], D as in hidden", tuple(weight.shape))
    require(
        targets.shape == hidden.shape[:-1],
        "targets",
        f"have hidden's leading dimensions {tuple(hidden.shape[:-1])}",
        tuple(targets.shape),
    )
    V = weight.shape[0]
    if bias is not None:
        require(bias.shape == (V,), "bias", f"be [V] = [{V}]", tuple(bias.shape))
    if token_weight is not None:
        check_weights("token_weight", token_weight, targets.shape)
    if class_weight is not None:
        check_weights("class_weight", class_weight, (V,))


def _check_head_options(softcap: float | None, logit_scale: float, memory_budget: int | None) -> None:
    require(softcap is None or 0.0 < softcap < math.inf, "softcap", "be finite and > 0", softcap, "None is off")
    require(-math.inf < logit_scale < math.inf, "logit_scale", "be finite", logit_scale)
    require(memory_budget is None or memory_budget > 0, "memory_budget", "be > 0 bytes", memory_budget)
