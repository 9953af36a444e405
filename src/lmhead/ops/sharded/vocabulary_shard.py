"""VocabularyShard: which rows of a vocabulary-parallel head this rank holds, and with whom it makes up the whole."""

from dataclasses import dataclass, field
from typing import Any, final

import torch.distributed as dist
from torch import Tensor

from lmhead.errors import require, require_kind
from lmhead.ops.checks import require_sizes
from lmhead.ops.sharded.held_rows import ALL_ROWS, HeldRows

_MANY = "make it with VocabularyShard.of(weight.shape[0], group)"


@final
@dataclass(frozen=True, slots=True)
class VocabularyShard:
    """Rows `start`, `start + 1`, .. of a head [V, D] on this rank; the ranks of `group` hold all, in rank order.

    `linear_cross_entropy(hidden, weight[rows], targets, bias=bias[rows], shard=shard)` is then, on every rank, what it
    is of the whole head. What goes by rows of the weight is the rank's own part: `weight`, `bias`, an adapter's `up`
    and `magnitude`, and their gradients. All else is the whole, the same on every rank: `hidden`, `targets`,
    `token_weight`, `class_weight` [V]. All ranks of the group make the same calls in the same order.

    Args:
        vocab_size: V, of all ranks together.
        group: a torch.distributed ProcessGroup, or a DeviceMesh's of one dimension (`mesh.get_group()`).
        partial_hidden_gradient: leave the hidden states' gradient this rank's part of a sum over the group, for a
            caller who reduce-scatters; by default all ranks add their parts up.
        own_rows: each rank has hidden states, targets and weights of its own, any number of rows: they are gathered
            inside, the loss is the ranks' mean, statistics are of the rank's own rows. As with data parallel ranks,
            hidden states get the gradient of their own rank's loss, the head's rows the mean over the ranks.

    Raises:
        ArgumentError: a number that no shard has.
        ArgumentTypeError: an argument is of the wrong kind.

    Example:
        >>> import torch, lmhead
        >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # torchrun does it for many
        >>> weight, hidden, targets = torch.zeros(16, 8), torch.zeros(2, 8), torch.tensor([3, 5])
        >>> shard = VocabularyShard.of(weight.shape[0], dist.group.WORLD)
        >>> shard.start, shard.vocab_size
        (0, 16)
        >>> lmhead.linear_cross_entropy(hidden, weight, targets, shard=shard).item()  # log 16
        2.7725887298583984
        >>> dist.destroy_process_group()

    Source: Shoeybi et al., "Megatron-LM" (2019), section 3: embedding and loss parallel over the vocabulary.
    """

    start: int
    vocab_size: int
    group: dist.ProcessGroup
    partial_hidden_gradient: bool = field(default=False, kw_only=True)
    own_rows: bool = field(default=False, kw_only=True)
    name: str = field(init=False, repr=False)  # the group's, by which a custom op is told of it

    def __post_init__(self) -> None:
        require_sizes(vocab_size=self.vocab_size)
        require_sizes(least=0, start=self.start)
        require(self.start < self.vocab_size, "start", f"be < {self.vocab_size}, the number of tokens", self.start)
        require_kind("group", self.group, dist.ProcessGroup, "as mesh.get_group() or dist.group.WORLD gives it")
        require_kind("partial_hidden_gradient", self.partial_hidden_gradient, bool, "True or False")
        require_kind("own_rows", self.own_rows, bool, "True or False")
        object.__setattr__(self, "name", str(self.group.group_name))

    @staticmethod
    def of(
        rows: int, group: dist.ProcessGroup, *, partial_hidden_gradient: bool = False, own_rows: bool = False
    ) -> "VocabularyShard":
        """Where this rank's `rows` rows stand among those of all ranks: one all-gather, to be called once.

        Raises:
            ArgumentError: on ALL ranks, where one of them has no rows.
            ArgumentTypeError: an argument is of the wrong kind.
        """
        require_kind("group", group, dist.ProcessGroup, "as mesh.get_group() or dist.group.WORLD gives it")
        sizes: list[Any] = [None] * dist.get_world_size(group)
        dist.all_gather_object(sizes, rows, group=group)  # checked behind it: what one rank refuses all refuse
        for rank, size in enumerate(sizes):
            require_sizes(least=0, **{f"rows of rank {rank}": size})
            require(size > 0, f"rows of rank {rank}", "be > 0", size, "cut the vocabulary over fewer ranks, or pad it")
        start = sum(sizes[: dist.get_rank(group)])
        return VocabularyShard(
            start, sum(sizes), group, partial_hidden_gradient=partial_hidden_gradient, own_rows=own_rows
        )


def vocab_size(weight: Tensor, shard: VocabularyShard | None) -> int:
    """V, of the whole head."""
    return weight.shape[0] if shard is None else shard.vocab_size


def held_rows(shard: VocabularyShard | None, weight: Tensor) -> HeldRows:
    """The same as plain values, for a problem with this `weight`.

    Raises:
        ArgumentError: the weight has more rows than are left from `start` on.
        ArgumentTypeError: not a VocabularyShard.
    """
    if shard is None:
        return ALL_ROWS
    require_kind("shard", shard, VocabularyShard, _MANY)
    most = shard.vocab_size - shard.start
    require(weight.shape[0] <= most, "weight", f"have at most {most} rows from shard.start on", weight.shape[0], _MANY)
    return HeldRows(
        start=shard.start,
        vocab_size=shard.vocab_size,
        group=shard.name,
        partial_hidden_gradient=shard.partial_hidden_gradient or shard.own_rows,
    )
