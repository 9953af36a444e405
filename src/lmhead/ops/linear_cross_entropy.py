"""linear_cross_entropy: reductions, and the table of back-ends."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, overload

import torch
from torch import Tensor

from lmhead.errors import IGNORE_INDEX, ArgumentError, require
from lmhead.ops import reference, triton
from lmhead.ops.adapter import Adapters
from lmhead.ops.autograd import run
from lmhead.ops.checks import check_choices, check_loss_options, check_weights
from lmhead.ops.chunked import sweep as chunked
from lmhead.ops.prepare import Prepared, prepare
from lmhead.ops.problem import Problem, Solved, TokenStatistics

Reduction = Literal["mean", "sum", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One way to run a Problem. `refusal` says why it cannot, None when it can."""

    refusal: Callable[[Problem], str | None]
    run: Callable[[Problem, Tensor | None], Solved]
    only_by_name: Callable[[Problem], str | None] = lambda problem: (
        None
    )  # why it is not chosen unasked, None when it is


BACKENDS: dict[str, Backend] = {  # fastest first; the first that does not refuse runs
    **{
        name: Backend(refusal=triton.refusal, run=partial(run, sweep=name), only_by_name=triton.only_by_name)
        for name in triton.FORMS
    },
    "chunked": Backend(refusal=chunked.refusal, run=partial(run, sweep="chunked")),  # the two below it
    "row_major": Backend(refusal=chunked.refusal, run=partial(run, sweep="row_major")),
    "vocabulary_major": Backend(refusal=chunked.refusal, run=partial(run, sweep="vocabulary_major")),
    "reference": Backend(refusal=reference.refusal, run=reference.run),
}


@overload
def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    adapter: Adapters = None,
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
    ranks: bool = False,
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
    adapter: Adapters = None,
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
    ranks: bool = False,
    memory_budget: int | None = None,
    backend: str | None = None,
) -> tuple[Tensor, TokenStatistics]: ...


def linear_cross_entropy(
    hidden: Tensor,  # [..., D]
    weight: Tensor,  # [V, D]
    targets: Tensor,  # [...], or [..., K]
    *,
    bias: Tensor | None = None,  # [V]
    adapter: Adapters = None,
    token_weight: Tensor | None = None,  # the targets' shape
    class_weight: Tensor | None = None,  # [V]
    ignore_index: int = IGNORE_INDEX,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    reduction: Reduction = "mean",
    divisor: float | Tensor | None = None,
    return_stats: bool = False,
    ranks: bool = False,
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
    With K targets for a row the loss is that of the row repeated K times, at the cost of one.

    Args:
        adapter: LoRA or DoRA on the head, inside the op; one or several `LowRankAdapter`.
        divisor: what the sum is divided by where this batch is a part of something larger: accumulated
            micro-batches, ranks. Only with reduction="mean".
        return_stats: also return TokenStatistics (nll, lse, entropy, hit, scored), from the same pass.
        ranks: with return_stats: the rank of each target among all tokens too, for top-k accuracy.
        memory_budget: bytes beyond the gradients, and beyond one float32 accumulator [V, D] where the head is of 16
            bits and the rows take more than two chunks. Default, on a CPU: a third of what float32 logits would take,
            120 to 256 MiB; elsewhere 512 MiB. A CPU keeps the buffers for the next call (`release_workspace`).
        backend: a name in BACKENDS; by default the first that takes the problem. "chunked" goes by rows, or where the
            budget leaves too few of them to a chunk, by the vocabulary; "row_major" and "vocabulary_major" do as they
            are called. The latter needs no float32 accumulator [V, D], and a third more arithmetic. "triton" does on a
            GPU as "chunked" does, in kernels; docs/op.md has its other forms.

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
    check_choices(ignore_index, backend, return_stats=return_stats, ranks=ranks)
    check_loss_options(label_smoothing, z_loss, reduction, divisor)
    require(return_stats or not ranks, "ranks", "be given with return_stats=True only", "return_stats=False")
    given = prepare(
        hidden,
        weight,
        targets,
        bias=bias,
        adapter=adapter,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        z_loss=z_loss,
        softcap=softcap,
        logit_scale=logit_scale,
        memory_budget=memory_budget,
        entropy=return_stats,
        hits=return_stats,
        ranks=ranks,
        weigh=lambda ids, dtype: _row_weight(ids, dtype, weight.shape[0], targets.shape, token_weight, class_weight),
    )
    coefficient = None if reduction == "none" else _coefficient(given, reduction, divisor)
    solved = choose(given.problem, backend).run(given.problem, coefficient)
    loss = solved.loss
    if reduction == "none":
        loss = (loss if given.row_weight is None else loss * given.row_weight).reshape(targets.shape)
    return (loss, given.statistics(solved)) if return_stats else loss


def choose(problem: Problem, name: str | None) -> Backend:
    """The back-end of that name, else the first that takes the problem.

    Raises:
        ArgumentError: there is none of that name, or it refuses; or all do, each reason listed.
    """
    if name is not None:
        require(name in BACKENDS, "backend", f"be one of {', '.join(BACKENDS)}", repr(name))
        why_not = BACKENDS[name].refusal(problem)
        require(why_not is None, "backend", f"run this problem, which {name} refuses", why_not)
        return BACKENDS[name]
    reasons = []
    for candidate, backend in BACKENDS.items():
        why_not = backend.only_by_name(problem) or backend.refusal(problem)
        if why_not is None:
            return backend
        reasons.append(f"{candidate}: {why_not}")
    raise ArgumentError("no back-end takes this problem; " + "; ".join(reasons))


def _row_weight(
    targets: Tensor,  # [N, K]
    dtype: torch.dtype,  # the loss's: a product of two 16-bit weights may be out of their range
    V: int,
    shape: torch.Size,
    token_weight: Tensor | None,
    class_weight: Tensor | None,
) -> Tensor | None:
    """Weight of each target [N, K], None where all are 1."""
    if token_weight is not None:
        check_weights("token_weight", token_weight, shape, device=targets.device)
    weights = None if token_weight is None else token_weight.reshape(targets.shape).to(dtype)
    if class_weight is not None:
        check_weights("class_weight", class_weight, (V,), device=targets.device)
        inside = (targets >= 0) & (targets < V)
        of_class = class_weight.to(dtype)[targets.where(inside, 0)].where(
            inside, 1
        )  # the back-end refuses what is outside
        weights = of_class if weights is None else weights * of_class
    return weights


def _coefficient(given: Prepared, reduction: Reduction, divisor: float | Tensor | None) -> Tensor:
    """What each target's loss is multiplied with before the sum [N, K]; rows that are ignored are never read."""
    targets = given.problem.targets
    weights = targets.new_ones((), dtype=given.dtype) if given.row_weight is None else given.row_weight
    weights = weights.expand(targets.shape)
    if reduction == "sum":
        return weights.contiguous()
    if divisor is None:
        divisor = weights.where(targets != given.problem.ignore_index, 0).sum()
    elif isinstance(divisor, Tensor):
        divisor = divisor.reshape(()).to(weights)
    return weights / divisor
