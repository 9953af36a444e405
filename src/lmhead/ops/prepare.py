"""From what a caller gives to a checked Problem, for every function that scores targets with a head."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lmhead.errors import require
from lmhead.ops.adapter import Adapters, adapted, as_tuple
from lmhead.ops.checks import check_head, check_head_options, check_tensor, product_dtype
from lmhead.ops.loss_options import PLAIN, LossOptions
from lmhead.ops.problem import (
    COME_FOR_NOTHING,
    Outputs,
    Problem,
    Solved,
    TokenStatistics,
    accumulation_dtype,
    require_counts,
)
from lmhead.ops.products.plan import default_memory_budget
from lmhead.ops.reduction import Reduction, coefficient_of
from lmhead.ops.sharded.hidden_gradient import part_of_gradient
from lmhead.ops.sharded.vocabulary_shard import VocabularyShard, held_rows, vocab_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A Problem, and what leads from its rows back to the caller's shape."""

    problem: Problem
    shape: torch.Size  # of the targets
    leading: torch.Size  # of the rows: the same, but for K targets a row
    row_weight: Tensor | None  # [N, K]; None where all are 1

    def coefficient(self, reduction: Reduction, divisor: float | Tensor | None) -> Tensor | None:
        """What each loss is multiplied with before the sum [N, K]; None where there is none."""
        if reduction == "none":
            return None
        return coefficient_of(self.row_weight, self.problem.scored, reduction, divisor, self.problem.dtype)

    def loss(self, solved: Solved, reduction: Reduction) -> Tensor:
        """The caller's: a scalar, or each token's in the targets' shape, times its weight."""
        if reduction != "none":
            return solved.loss
        return (solved.loss if self.row_weight is None else solved.loss * self.row_weight).reshape(self.shape)

    def each(self, column: Tensor) -> Tensor:
        """A number of each target [N, K], or of each row [N] for each of its targets, in the targets' shape."""
        if column.dim() == 1:
            column = column[:, None].expand(-1, self.problem.targets.shape[1])
        return column.reshape(self.shape)

    def statistics(self, solved: Solved) -> TokenStatistics:
        """Of each target, detached."""
        return TokenStatistics.of_rows(solved.rows, self.problem.scored, shape=self.shape, leading=self.leading)


def prepare(
    hidden: Tensor,  # [..., D]
    weight: Tensor,  # [V, D]
    targets: Tensor,  # [...], or [..., K]
    *,
    bias: Tensor | None,
    adapter: Adapters,
    ignore_index: int,
    softcap: float | None,
    logit_scale: float,
    memory_budget: int | None,
    options: LossOptions = PLAIN,
    outputs: Outputs = COME_FOR_NOTHING,
    shard: VocabularyShard | None = None,
    weigh: Callable[[Tensor, torch.dtype], Tensor | None] = lambda ids, dtype: None,
) -> Prepared:
    """Check, flatten, and drop what weighs nothing.

    Args:
        outputs: those that come for nothing among them.
        weigh: the weight of each target [N, K] from the ids and the loss's dtype, or None; called once the tensors are
            known to be in order.

    Raises:
        ArgumentError: a shape, a dtype or an option breaks its rule.
        ArgumentTypeError: an argument is of the wrong kind.
    """
    check_head(hidden, weight, bias)
    check_tensor("targets", targets, integral=True, device=hidden.device)
    check_head_options(softcap, logit_scale, memory_budget)
    held = held_rows(shard, weight)
    require_counts(outputs, vocab_size(weight, shard))
    leading = hidden.shape[:-1]
    several = targets.dim() == hidden.dim() and targets.shape[:-1] == leading and targets.shape[-1] > 0
    require(
        several or targets.shape == leading,
        "targets",
        f"have hidden's leading dimensions {tuple(leading)}, or those and K for K targets a row",
        tuple(targets.shape),
    )
    compute_dtype = product_dtype(hidden, weight)
    K = targets.shape[-1] if several else 1
    rows = hidden.reshape(-1, hidden.shape[-1])
    ids = targets.reshape(rows.shape[0], K).long()
    row_weight = weigh(ids, accumulation_dtype(compute_dtype))
    if row_weight is not None:
        ids = ids.where(row_weight != 0, ignore_index)
    of_adapter = adapted(
        adapter, _read_by_adapter(rows, adapter, shard), weight, (ids != ignore_index).any(1), compute_dtype
    )
    problem = Problem(
        hidden=rows,
        weight=weight,
        targets=ids,
        bias=bias,
        adapter_hidden=of_adapter.hidden,
        adapter_weight=of_adapter.weight,
        column_scale=of_adapter.column_scale,
        ignore_index=ignore_index,
        options=options,
        softcap=softcap,
        logit_scale=logit_scale,
        compute_dtype=compute_dtype,
        memory_budget=memory_budget or default_memory_budget(hidden.device, rows.shape[0], weight.shape[0]),
        outputs=outputs,
        shard=held,
    )
    return Prepared(problem=problem, shape=targets.shape, leading=leading, row_weight=row_weight)


def _read_by_adapter(rows: Tensor, adapter: Adapters, shard: VocabularyShard | None) -> Tensor:
    """The rows that an adapter's first product is of: every rank of a head that is cut makes the whole of it."""
    if shard is None:
        return rows
    check_cut_adapter(adapter)
    summed_later = shard.partial_hidden_gradient and not shard.own_rows  # own rows are gathered behind the product
    return part_of_gradient(rows, shard.group.size()) if adapter and summed_later else rows


def check_cut_adapter(adapter: Adapters, *, whose: str = "") -> None:
    """Refuse what no adapter of a head that is cut over ranks can have.

    Args:
        whose: put before the name in a message, e.g. "teacher_".

    Raises:
        ArgumentError: it drops hidden states.
    """
    for one in as_tuple(adapter):
        name, remedy = f"{whose}adapter.dropout", "each rank would drop others"
        require(not one.dropout, name, "be 0 where the head is cut over ranks", one.dropout, remedy)
