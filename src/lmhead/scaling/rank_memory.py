"""Memory of a rank in training: its parts of weights, gradients and optimiser states, and what is whole for a while.

It is counted at two moments, and the larger is the peak. Behind the loss, when the last block's backward begins: all
activations are there, the root's weights are whole, and so are two blocks' (one at work, one gathered ahead), the
head's gradient, and a block's with the buffer of its reduction; in a first micro-batch no reduced gradients are there
yet. At the end of the backward: all gradients are there, and the root's are whole, with the buffer of their reduction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from lmhead.models.config import GPTConfig
from lmhead.models.estimate import FurtherTokens, memory_count
from lmhead.ranks.mesh import MeshPlan
from lmhead.scaling.rank_group import Groups
from lmhead.scaling.shard_group import FLOAT32, ShardGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Bytes on the rank that holds most, at one time of a step."""

    weights: float
    gradients: float
    optimizer: float
    average: float  # of weights, where one is kept, and what it takes the place of
    gathered: float  # weights that are whole, beside this rank's parts
    unreduced: float  # gradients that are whole, and the buffers of their reduction
    copies: float = 0.0  # bfloat16, of matrices that are gathered in float32, which autocast makes and autograd keeps
    activations: float = 0.0  # of one micro-batch; 0 where they are not known
    head: float = 0.0  # the budget of the head's loss

    @property
    def total(self) -> float:
        """All of it."""
        parts = (self.weights, self.gradients, self.optimizer, self.average, self.gathered, self.unreduced)
        return sum(parts) + self.copies + self.activations + self.head


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RankMemory:
    """Bytes on the rank that holds most."""

    loss: Moment  # behind the loss
    end: Moment  # of the backward

    @property
    def lasting(self) -> float:
        """What a rank has between the backward and the update, whatever it trains on."""
        return self.end.weights + self.end.gradients + self.end.optimizer + self.end.average

    @property
    def peak(self) -> float:
        """At the moment that has more."""
        return max(self.loss.total, self.end.total)


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
    accumulate: int = 1,
    average: bool = False,
) -> RankMemory:
    """The memory of a rank that holds its parts of `groups`; of one rank alone nothing is gathered."""
    of = Groups.of(plan)
    size = {"body": of.body.size, "vocabulary": of.vocabulary.size}
    held = [(group, size[group.held]) for group in groups]
    alone = plan.size == 1
    gradients = sum(group.count * group.gradients(ranks) for group, ranks in held)
    lasting = {
        "weights": sum(group.count * group.weights(ranks) for group, ranks in held),
        "optimizer": sum(group.count * group.states(ranks) for group, ranks in held),
        "average": 2 * gradients if average else 0.0,
    }
    roots = [(group, ranks) for group, ranks in held if group.stays]
    block = max((group.gathered(ranks) for group, ranks in held if not group.stays), default=0.0)
    block_gradients = max((group.unreduced(ranks) for group, ranks in held if not group.stays), default=0.0)
    root = sum(group.gathered(ranks) for group, ranks in roots)
    of_root = sum(group.reduced(ranks) for group, ranks in roots)
    early = of_root - sum(FLOAT32 * group.late for group, _ in roots)
    casts = sum(group.count * group.cast for group in groups) * compute_bytes if compute_bytes < FLOAT32 else 0
    loss = Moment(
        **lasting,
        gradients=gradients if accumulate > 1 or alone else 0.0,
        gathered=0.0 if alone else root + 2 * block,
        unreduced=0.0 if alone else early + block_gradients,
        copies=casts,
        activations=activations,
        head=head,
    )
    end = Moment(
        **lasting,
        gradients=gradients,
        gathered=0.0 if alone else root + block,
        unreduced=0.0 if alone else max(early + block_gradients, 2 * of_root),
    )
    return RankMemory(loss=loss, end=end)


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
