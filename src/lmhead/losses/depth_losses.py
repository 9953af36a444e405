"""The losses of depths of multi-token prediction that share one head: one call of the op on the rows of all of them."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor

from lmhead.losses.depth_divergence import divergence_from_the_model, stacked
from lmhead.losses.depth_rows import DepthRows
from lmhead.losses.head_tensors import HeadLogits
from lmhead.ops.divergence.problem import Kind
from lmhead.ops.keywords import MultiTokenKeywords, RunKeywords
from lmhead.ops.linear_cross_entropy import linear_cross_entropy
from lmhead.ops.problem import TokenStatistics, accumulation_dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """The model that the depths stand behind, where they learn what it would say."""

    hidden: Tensor  # [..., T, D]
    ahead: Sequence[Tensor] | None = None  # [..., T, D]: 1, 2, .. tokens on, where `hidden` is of a part of rows
    head: HeadLogits
    kind: Kind


def depth_losses(
    hiddens: Sequence[Tensor],  # of depths first, first + 1, ..: [..., T', D]
    rows: Sequence[DepthRows],  # of the same
    *,
    first: int,
    head: HeadLogits,
    ignore_index: int,
    teacher: Teacher | None = None,
    **options: Unpack[MultiTokenKeywords],
) -> tuple[Tensor, list[TokenStatistics]]:
    """(the sum of coefficient * loss in nats, statistics of each depth).

    Args:
        teacher: the loss is the divergence from it. The statistics are of the labels all the same: one product more.
    """
    if teacher is None:
        return _cross_entropy(hiddens, rows, head, ignore_index, options)
    how: RunKeywords = {"memory_budget": options.get("memory_budget"), "backend": options.get("backend")}
    loss = divergence_from_the_model(
        hiddens,
        rows,
        first=first,
        head=head,
        model_hidden=teacher.hidden,
        model_ahead=teacher.ahead,
        model_head=teacher.head,
        kind=teacher.kind,
        **how,
    )
    with torch.no_grad():
        return loss, _cross_entropy(hiddens, rows, head, ignore_index, options)[1]


def _cross_entropy(
    hiddens: Sequence[Tensor],
    rows: Sequence[DepthRows],
    head: HeadLogits,
    ignore_index: int,
    options: MultiTokenKeywords,
) -> tuple[Tensor, list[TokenStatistics]]:
    of = head.tensors
    coefficients = torch.cat([depth.coefficient.reshape(-1) for depth in rows])
    loss, statistics = linear_cross_entropy(
        stacked(hiddens),
        of.weight,
        torch.cat([depth.ids.reshape(-1) for depth in rows]),
        bias=of.bias,
        adapter=of.adapters,
        token_weight=coefficients.to(accumulation_dtype(of.weight.dtype)),
        ignore_index=ignore_index,
        softcap=head.softcap,
        logit_scale=head.logit_scale,
        shard=of.shard,
        reduction="sum",
        return_stats=True,
        **options,
    )
    return loss, _split(statistics, [depth.ids.shape for depth in rows])


def _split(statistics: TokenStatistics, shapes: Sequence[torch.Size]) -> list[TokenStatistics]:
    sizes = [math.prod(shape) for shape in shapes]  # numel() of a torch.Size would fix the sizes of an exported graph
    ends = list(itertools.accumulate(sizes))

    def of_depth(k: int) -> TokenStatistics:
        rows = slice(ends[k] - sizes[k], ends[k])
        return statistics.each(lambda column: column[rows].reshape(*shapes[k], *column.shape[1:]))

    return [of_depth(k) for k in range(len(shapes))]
