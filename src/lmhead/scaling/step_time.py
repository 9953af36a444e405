"""Time of a step on named hardware: products, the optimiser's passes, communication; hidden behind each other, or not.

Two bounds. Best: all communication runs beside the products, and the longer of both counts. Worst: one after the other.
What of the peaks is reached is assumed (Assumed), not measured: say so wherever a time is shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from lmhead.ranks.mesh import MeshPlan
from lmhead.scaling.hardware import Hardware
from lmhead.scaling.rank_group import Collective
from lmhead.scaling.shard_group import FLOAT32, ShardGroup

_PASSES = 7  # AdamW reads weight, gradient and two moments, and writes all but the gradient
_ITERATIONS = 5  # of Newton-Schulz, training/optimizers/muon.py


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """Shares of the peaks that a run reaches, and what no data sheet says."""

    products: float = 0.4  # of the FLOP/s, all that stands between them included
    memory: float = 0.8  # of the memory's rate
    links: float = 0.8  # of both links' rates
    hop: float = 4e-6  # seconds of each turn of a ring
    usable: float = 0.92  # of the memory: the context, the communication's buffers and fragments take the rest
    storage: float = 2e9  # bytes a second that a host writes


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """Seconds of a step."""

    products: float
    optimizer: float
    communication: float
    tokens: float  # of all ranks
    model_flops: float  # of all ranks; what is computed twice counts once
    peak: float  # of all ranks, FLOP/s

    @property
    def best(self) -> float:
        """All communication is hidden."""
        return max(self.products, self.communication) + self.optimizer

    @property
    def worst(self) -> float:
        """None is."""
        return self.products + self.communication + self.optimizer

    def tokens_per_second(self, seconds: float) -> float:
        """Of all ranks."""
        return self.tokens / seconds

    def utilization(self, seconds: float) -> float:
        """Model FLOPs utilization (Chowdhery et al., "PaLM" (2022), appendix B): in [0, 1]."""
        return self.model_flops / (self.peak * seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepWork:
    """What a step computes."""

    tokens: float  # of all ranks
    tokens_of_a_rank: float  # of the one that has most
    flops: float  # a token, forward and backward
    head_flops: float = 0.0  # of these, the head's
    again: float = 0.0  # a token, of what is computed twice


def step_time(
    groups: Sequence[ShardGroup],
    plan: MeshPlan,
    traffic: Sequence[Collective],
    work: StepWork,
    hardware: Hardware,
    *,
    compute_bytes: int,
    per_host: int,
    assumed: Assumed,
) -> StepTime:
    """Of one step. Over a vocabulary's shards the head scans before it differentiates: 8 products' work for 6."""
    rate = hardware.rate(compute_bytes)
    scanned = work.head_flops / 3 if plan.tp > 1 else 0.0
    flops = (work.flops + work.again + scanned) * work.tokens_of_a_rank
    return StepTime(
        products=flops / (rate * assumed.products),
        optimizer=_optimizer(groups, plan, hardware, assumed),
        communication=sum(
            each.seconds(
                link=hardware.link * assumed.links,
                network=hardware.network * assumed.links,
                hop=assumed.hop,
                per_host=per_host,
            )
            for each in traffic
        ),
        tokens=work.tokens,
        model_flops=work.flops * work.tokens,
        peak=rate * plan.size,
    )


def _optimizer(groups: Sequence[ShardGroup], plan: MeshPlan, hardware: Hardware, assumed: Assumed) -> float:
    """Passes over the rank's part, and Newton-Schulz of the matrices that it is given whole, bfloat16."""
    ranks = plan.shard * plan.cp * plan.tp
    numbers = sum(
        group.count * group.gradients(ranks if group.held == "body" else ranks // plan.tp) for group in groups
    )
    stacks: dict[tuple[int, int], int] = {}
    for group in groups:
        for shape in group.muon:
            stacks[shape] = stacks.get(shape, 0) + group.count
    flops = sum(-(-count // ranks) * newton_schulz_flops(shape) for shape, count in stacks.items())
    passes = _PASSES * numbers / (hardware.memory_rate * assumed.memory)
    return passes + flops / (hardware.bfloat16 * assumed.products)


def newton_schulz_flops(shape: tuple[int, int]) -> float:
    """Of one matrix [R, C]: five times X X^T, its square, and their product with X, on the smaller side."""
    small, large = min(shape), max(shape)
    return _ITERATIONS * (4.0 * small * small * large + 2.0 * small**3)


def checkpoint_bytes(groups: Sequence[ShardGroup]) -> float:
    """Of weights and optimiser states, written once, whoever holds them; what is frozen is not."""
    return sum(group.count * (group.gradients() + group.states()) for group in groups)


def published_bytes(groups: Sequence[ShardGroup]) -> float:
    """Of the weights alone, float32: what rank 0 gathers on its host and writes for anybody."""
    return FLOAT32 * sum(group.parameters for group in groups)
