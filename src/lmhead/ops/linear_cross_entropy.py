"""linear_cross_entropy: the front door of the op. What runs it: backends.py; what it runs: problem.py."""

from typing import Literal, Unpack, overload

from torch import Tensor

from lmhead.errors import IGNORE_INDEX
from lmhead.ops.adapter import Adapters
from lmhead.ops.autograd import solve
from lmhead.ops.checks import check_choices
from lmhead.ops.keywords import LinearKeywords
from lmhead.ops.loss_options import LossOptions
from lmhead.ops.prepare import prepare
from lmhead.ops.problem import TokenStatistics, outputs_wanted_by
from lmhead.ops.reduction import Reduction, check_reduction, weight_of_each
from lmhead.ops.sharded.own_rows import OwnRows
from lmhead.ops.sharded.vocabulary_shard import VocabularyShard, vocab_size


@overload
def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    return_stats: Literal[False] = False,
    **options: Unpack[LinearKeywords],
) -> Tensor: ...


@overload
def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, return_stats: Literal["nll"], **options: Unpack[LinearKeywords]
) -> tuple[Tensor, Tensor]: ...


@overload
def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, return_stats: Literal[True], **options: Unpack[LinearKeywords]
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
    return_stats: bool | Literal["nll"] = False,
    ranks: bool = False,
    top_k: int | None = None,
    memory_budget: int | None = None,
    backend: str | None = None,
    shard: VocabularyShard | None = None,
) -> Tensor | tuple[Tensor, TokenStatistics] | tuple[Tensor, Tensor]:
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
        return_stats: also return TokenStatistics (nll, lse, entropy, hit, scored), from the same pass; "nll": that
            alone, detached, in the targets' shape, 0 where ignored, which costs nothing.
        ranks: with return_stats: the rank of each target among all tokens too, for top-k accuracy.
        top_k: with return_stats: the k most probable tokens of each row too, and their log p; no logits are held.
        memory_budget: bytes beyond the gradients, and beyond one float32 accumulator [V, D] where the head is of 16
            bits and the rows take more than two chunks. Default, on a CPU: a third of what float32 logits would take,
            120 to 256 MiB; elsewhere 512 MiB. A CPU keeps the buffers for the next call (`release_workspace`).
        backend: a name in BACKENDS; by default the first that takes the problem. "chunked" goes by rows, or where the
            budget leaves too few of them to a chunk, by the vocabulary; "row_major" and "vocabulary_major" do as they
            are called. The latter needs no float32 accumulator [V, D], and a third more arithmetic. "triton" does on a
            GPU as "chunked" does, in kernels; docs/loss/op.md has its other forms.
        shard: where `weight` is this rank's rows of a head that is cut over ranks by its vocabulary.

    Returns:
        A scalar, or with reduction="none" the shape of `targets`; float32, float64 for float64 inputs. Zero scored
        tokens give a differentiable 0.

    Raises:
        ArgumentError: a shape, a dtype, an option or a target breaks its rule.
        ArgumentTypeError: an argument is of the wrong kind.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> hidden, weight = torch.randn(2, 3, 8), torch.zeros(16, 8)
        >>> linear_cross_entropy(hidden, weight, torch.tensor([[1, 2, -100], [4, 5, 6]])).item()  # log 16
        2.7725887298583984

    Source: gradients in the forward as in Liger Kernel (Hsu et al. 2024); the bounded memory of Wijmans et al., "Cut
    Your Losses in Large-Vocabulary Language Models" (2024).
    """
    check_choices(ignore_index, backend)
    options = LossOptions.checked(label_smoothing=label_smoothing, z_loss=z_loss)
    outputs = outputs_wanted_by(return_stats=False if return_stats == "nll" else return_stats, ranks=ranks, top_k=top_k)
    check_reduction(reduction, divisor)
    given = prepare(
        hidden,
        weight,
        targets,
        bias=bias,
        adapter=adapter,
        ignore_index=ignore_index,
        softcap=softcap,
        logit_scale=logit_scale,
        memory_budget=memory_budget,
        options=options,
        outputs=outputs,
        shard=shard,
        weigh=lambda ids, dtype: weight_of_each(
            ids, targets.shape, vocab_size(weight, shard), token_weight, class_weight, dtype=dtype, device=ids.device
        ),
    )
    coefficient = given.coefficient(reduction, divisor)
    if shard is not None and shard.own_rows:
        rows = OwnRows.of(given.problem.hidden.shape[0], shard.group, hidden.device)
        solved = rows.solved(solve(rows.problem(given.problem), rows.coefficient(coefficient), backend))
    else:
        solved = solve(given.problem, coefficient, backend)
    loss = given.loss(solved, reduction)
    if return_stats == "nll":
        return loss, given.each(solved.rows["nll"].detach())
    return (loss, given.statistics(solved)) if return_stats else loss
