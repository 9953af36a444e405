"""Memory of a rank in training: its parts of weights, gradients and optimiser states, and what is whole for a while.

The peak is in the backward, behind the head: all activations are there, the root's weights are whole, and so are two
blocks' (one at work, one gathered ahead), the gradients of both and the root's, which are not reduced yet. Or it is at
the end of the backward, where the root's gradients and the buffer of their reduction are whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from lmhead.models.config import GPTConfig
from lmhead.models.estimate import FurtherTokens, memory_count
from lmhead.ranks.mesh import MeshPlan
from lmhead.scaling.rank_group import Groups
from lmhead.scaling.shard_group import FLOAT32, ShardGroup


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RankMemory:
    """Bytes on the rank that holds most."""

    weights: float
    gradients: float
    optimizer: float
    average: float  # of weights, where one is kept, and what it takes the place of
    gathered: float  # weights that are whole at the same time, beyond this rank's part
    unreduced: float  # gradients that are whole at the same time
    copies: float  # bfloat16, of every block's matrices, which autocast makes and autograd keeps until the backward
    activations: float  # of one micro-batch; 0 where they are not known
    head: float  # the budget of the head's loss
    last: float  # how much more the end of the backward takes than all this, or 0

    @property
    def lasting(self) -> float:
        """What is there all the time."""
        return self.weights + self.gradients + self.optimizer + self.average

    @property
    def total(self) -> float:
        """The peak."""
        rest = self.gathered + self.unreduced + self.copies + self.activations + self.head
        return self.lasting + rest + self.last


@dataclass(frozen=True, slots=True, kw_only=True)
class Activations:
    """Bytes that one micro-batch keeps on a rank."""

    whole: float
    checkpointed: float  # where each layer's input alone is kept


def rank_memory(
    groups: Sequence[ShardGroup],
    plan: MeshPlan,
    *,
    compute_bytes: int,
    activations: float,
    head: float,
    average: bool = False,
) -> RankMemory:
    """The memory of a rank that holds its parts of `groups`."""
    of = Groups.of(plan)
    size = {"body": of.body.size, "vocabulary": of.vocabulary.size}
    held = [(group, size[group.held]) for group in groups]
    alone = plan.size == 1
    gradients = sum(group.count * group.gradients(ranks) for group, ranks in held)
    roots = [(group, ranks) for group, ranks in held if group.root or group.held == "vocabulary"]
    largest = max((group.gathered(ranks) for group, ranks in held if not group.root), default=0.0)
    reduced = max((group.reduced(ranks) for group, ranks in held if not group.root), default=0.0)
    root = sum(group.gathered(ranks) for group, ranks in roots)
    root_gradients = sum(group.reduced(ranks) for group, ranks in roots)
    casts = sum(group.count * group.cast for group in groups) * compute_bytes if compute_bytes < FLOAT32 else 0
    behind_head = root + 2 * largest + root_gradients + 2 * reduced + casts + activations + head
    at_the_end = root + 2 * root_gradients
    return RankMemory(
        weights=sum(group.count * group.weights(ranks) for group, ranks in held),
        gradients=gradients,
        optimizer=sum(group.count * group.states(ranks) for group, ranks in held),
        average=2 * gradients if average else 0.0,
        gathered=0.0 if alone else root + 2 * largest,
        unreduced=0.0 if alone else root_gradients + 2 * reduced,
        copies=casts,
        activations=activations,
        head=head,
        last=0.0 if alone else max(0.0, at_the_end - behind_head),
    )


def rank_activations(
    config: GPTConfig, plan: MeshPlan, *, rows: int, compute_bytes: int, mtp: FurtherTokens | None = None, cpu: bool
) -> Activations:
    """What `rows` rows keep on a rank, which has 1 / cp of their tokens, and all their keys and values."""
    count = memory_count(config, rows=rows, compute_bytes=compute_bytes, mtp=mtp, cpu=cpu)
    tokens = rows * config.max_seq_len
    keys = 2 * config.kv_heads * config.head_width * compute_bytes
    of_others = tokens * keys * (plan.cp - 1) / plan.cp
    return Activations(
        whole=count.activations / plan.cp + config.num_layers * of_others,
        checkpointed=count.checkpointed / plan.cp + of_others,
    )


def rows_of_a_rank(rows: int, plan: MeshPlan) -> int:
    """Rows of a micro-batch that the rank with most of them reads."""
    return -(-rows // plan.readers)
