"""Context parallel for this library's decoder: ranks that read the same rows, each its part of their tokens.

Each rank's queries attend over the keys and values of all ranks, gathered layer by layer; hidden states, and what the
head makes of them, are of this rank's tokens alone. Labels are made of whole rows (labels/packing/context_shard.py).

    [B, T] ids -> this rank's [B, S] -> layers, over keys and values of all ranks' tokens -> [B, S, D] -> its loss

The ranks' losses, and their gradients, add up to the rows'. Not here: torch's ring attention, which sends keys around
instead of gathering them and runs on GPUs alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import torch
import torch.distributed as dist
from torch import Tensor

from lmhead.errors import IGNORE_INDEX, require
from lmhead.labels.labels_or_targets import targets_from
from lmhead.labels.packing.context_shard import ContextShard
from lmhead.labels.targets import Targets
from lmhead.ops.keywords import ModelLossKeywords
from lmhead.ops.problem import TokenStatistics
from lmhead.ops.reduction import weight_of_each
from lmhead.ops.sharded.row_exchange import gathered


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ContextGroup:
    """The ranks that read the same rows; where a Layer takes a cache, what reads keys and values of all of them."""

    group: dist.ProcessGroup
    length: int = 0  # places of each row that were read before

    def part(self, ids: Tensor, targets: Targets, document: Tensor | None, *, depth: int = 0) -> "ContextPart":
        """This rank's part of rows [B, T]."""
        shard = ContextShard.of(
            ids, targets, rank=self.group.rank(), size=self.group.size(), document=document, depth=depth
        )
        return ContextPart(shard=shard, context=self, depth=depth)

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H, size * S, width] of all ranks' tokens, from this rank's [B, H, S, width]."""
        both = gathered(torch.stack([keys, values]), self.group, dim=3)
        return both[0], both[1]


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ContextPart:
    """One rank's part of some rows, and what it is told by the others."""

    shard: ContextShard
    context: ContextGroup
    depth: int  # of multi-token prediction

    @property
    def targets(self) -> Targets:
        """Targets [B, S]."""
        return self.shard.targets

    def reach(self) -> tuple[Tensor, list[Tensor]]:
        """(ids [B, R] of this rank's tokens and of the `depth` behind each; where in them each, and what is k further).

        The list is of 1 + depth tensors [S]. Every id is there once, so that it is embedded once.
        """
        places = self.shard.places
        further = [places + k for k in range(1 + self.depth)]
        reached = torch.unique(torch.cat(further))  # sorted
        ids = torch.where(reached < self.shard.row_ids.shape[1], self._row_ids(reached), 0)
        return ids, [torch.searchsorted(reached, each) for each in further]

    def _row_ids(self, places: Tensor) -> Tensor:
        return self.shard.row_ids[:, places.clamp(max=self.shard.row_ids.shape[1] - 1)]

    def ahead(self, hidden: Tensor) -> list[Tensor]:
        """Hidden states [B, S, D] that stand 1, 2, .. `depth` tokens behind each of this rank's, detached.

        A rank has more tokens than `depth`, so the next rank's first ones are all that is missing. Behind the row: 0.
        """
        group, hidden = self.context.group, hidden.detach()
        if not self.depth:
            return []
        first = gathered(hidden[:, : self.depth], group, dim=1)
        following = torch.cat([first, torch.zeros_like(hidden[:, : self.depth])], 1)
        begin = (group.rank() + 1) * self.depth
        return [torch.cat([hidden[:, k:], following[:, begin : begin + k]], 1) for k in range(1, 1 + self.depth)]

    def whole(self, statistics: TokenStatistics) -> TokenStatistics:
        """Statistics [B, T] of whole rows, from each rank's of its part."""
        return statistics.each(self.whole_column)

    def whole_column(self, column: Tensor) -> Tensor:
        """A number of each token of whole rows [B, T, ..], detached, from each rank's of its part."""
        return self.shard.in_row_order(gathered(column.detach(), self.context.group, dim=1))


def whole_targets(
    ids: Tensor,  # [B, T]
    targets: Tensor | Targets,  # [B, T]
    options: ModelLossKeywords,
    vocab_size: int,
) -> tuple[Targets, ModelLossKeywords]:
    """Targets of whole rows with the weights that `options` give; what is left of the options for a part's loss.

    A mean is over the whole rows' tokens, so that the ranks' losses add up.

    Raises:
        ArgumentError: the options ask for each token's loss.
    """
    reduction = options.get("reduction", "mean")
    require(reduction != "none", "reduction", 'be "mean" or "sum" where ranks share the tokens of a row', reduction)
    whole = targets_from(
        (),
        labels=None,
        targets=targets,
        of=ids[..., None],
        token_weight=options.get("token_weight"),
        ignore_index=options.get("ignore_index", IGNORE_INDEX),
    )
    left: dict[str, Any] = {name: value for name, value in options.items() if name not in _OF_TARGETS}
    left["ignore_index"] = whole.ignore_index
    if reduction == "mean" and left.get("divisor") is None:
        left["divisor"] = _weight(whole, left, vocab_size)
    return whole, left  # type: ignore[return-value]  # names of ModelLossKeywords


_OF_TARGETS: Final = ("token_weight", "ignore_index")


def _weight(whole: Targets, options: Mapping[str, Any], vocab_size: int) -> Tensor:
    """[]: what a mean over the rows divides by."""
    wide = torch.float32 if whole.ids.device.type == "mps" else torch.float64
    weights = weight_of_each(whole.ids, whole.shape, vocab_size, whole.weight, options.get("class_weight"), dtype=wide)
    return (whole.scored.to(wide) if weights is None else weights.where(whole.scored, 0)).sum()
