"""Scaling plan: a run on K ranks of named hardware before anything is run: memory, traffic, time, whether it fits."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final, final

from lmhead.errors import require
from lmhead.models.config import GPTConfig
from lmhead.models.estimate import FurtherTokens, flop_count
from lmhead.options import option
from lmhead.ranks.mesh import MeshPlan
from lmhead.scaling.hardware import Hardware
from lmhead.scaling.rank_group import Collective, Groups
from lmhead.scaling.rank_memory import Activations, RankMemory, rank_activations, rank_memory, rows_of_a_rank
from lmhead.scaling.shard_group import FLOAT32, ShardGroup, shard_groups
from lmhead.scaling.step_time import Assumed, StepTime, StepWork, step_time
from lmhead.scaling.traffic import StepSizes, collectives

_MIB: Final = 2**20
_MOST: Final = 4096  # ranks that are tried
_WAYS: Final = (1, 2, 4, 8, 16, 32)  # of cutting rows, and the vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedModel(ABC):
    """What a plan has to know of a model and how it is trained."""

    vocab_size: int
    length: int  # T: tokens of a row
    width: int  # D
    layers: int  # 0 where it is not known
    keys: int  # width of a layer's keys of all heads; 0 where it is not known
    flops: float  # a token, forward and backward
    head_flops: float  # of these, the head's
    again: float  # a token, where each layer's forward is computed twice
    compute_bytes: int
    average: bool = False

    @abstractmethod
    def groups(self, plan: MeshPlan) -> list[ShardGroup]:
        """Its weights, as FSDP2 gathers them."""

    @abstractmethod
    def activations(self, plan: MeshPlan, rows: int, *, cpu: bool) -> Activations | None:
        """Of so many rows on a rank; None where nobody knows."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedDecoder(PlannedModel):
    """This library's decoder."""

    config: GPTConfig
    mtp: FurtherTokens | None = None
    optimizer: str = "adamw"

    @staticmethod
    def of(
        config: GPTConfig,
        *,
        optimizer: str = "adamw",
        compute_bytes: int = 2,
        mtp: FurtherTokens | None = None,
        average: bool = False,
    ) -> "PlannedDecoder":
        """The decoder of `config`, trained in products of 4 or 2 bytes."""
        flops = flop_count(config, mtp=mtp)
        return PlannedDecoder(
            vocab_size=config.vocab_size,
            length=config.max_seq_len,
            width=config.embed_dim,
            layers=config.num_layers,
            keys=config.kv_heads * config.head_width,
            flops=flops.training,
            head_flops=3 * (flops.head + flops.mtp_head),
            again=flops.projections + flops.scores + flops.mlp,
            compute_bytes=compute_bytes,
            average=average,
            config=config,
            mtp=mtp,
            optimizer=optimizer,
        )

    def groups(self, plan: MeshPlan) -> list[ShardGroup]:
        """Its weights, as FSDP2 gathers them."""
        return shard_groups(self.config, plan, self.mtp, optimizer=self.optimizer, compute_bytes=self.compute_bytes)

    def activations(self, plan: MeshPlan, rows: int, *, cpu: bool) -> Activations:
        """Of so many rows on a rank."""
        return rank_activations(self.config, plan, rows=rows, compute_bytes=self.compute_bytes, mtp=self.mtp, cpu=cpu)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingPlan:
    """One run on paper."""

    model: PlannedModel
    mesh: MeshPlan
    rows: int  # of a micro-batch of all ranks
    accumulate: int
    hardware: Hardware | None = None
    per_host: int = 8
    checkpointing: bool = False
    assumed: Assumed = field(default_factory=Assumed)

    def __post_init__(self) -> None:
        require_mesh(self.mesh, self.model)
        size, per_host = self.mesh.size, self.per_host
        require(
            size <= per_host or size % per_host == 0,
            option("nproc"),
            f"be a multiple of the {per_host} of a host, or fewer",
            size,
            f"or give {option('per_host')}",
        )

    @property
    def rows_of_a_rank(self) -> int:
        """Of a micro-batch, the rank's that has most."""
        return rows_of_a_rank(self.rows, self.mesh)

    @property
    def idle(self) -> int:
        """Ranks that have no row of a micro-batch."""
        return max(0, self.mesh.readers - self.rows) * self.mesh.cp

    @property
    def hosts(self) -> int:
        """With `per_host` devices."""
        return -(-self.mesh.size // self.per_host)

    @property
    def groups(self) -> list[ShardGroup]:
        """The weights, as FSDP2 gathers them."""
        return self.model.groups(self.mesh)

    @property
    def activations(self) -> Activations | None:
        """Of a rank, with and without checkpointing; None where nobody knows."""
        cpu = self.hardware is not None and not self.hardware.gpu
        return self.model.activations(self.mesh, self.rows_of_a_rank, cpu=cpu)

    @property
    def logits(self) -> float:
        """Bytes of one float32 copy of the logits on a rank, which are never made."""
        return FLOAT32 * self._tokens * self.model.vocab_size

    @property
    def head(self) -> float:
        """Bytes that the head's loss may take: its default budget (ops/products/plan.py), or a copy of the logits."""
        cpu = self.hardware is not None and not self.hardware.gpu
        budget = min(max(self.logits / 3, 120.0 * _MIB), 256.0 * _MIB) if cpu else 512.0 * _MIB
        return min(budget, self.logits)

    @property
    def _tokens(self) -> float:
        return self.rows_of_a_rank * self.model.length / self.mesh.cp

    @property
    def memory(self) -> RankMemory:
        """Of the rank that holds most."""
        return self._memory(self.checkpointing)

    @property
    def memory_checkpointed(self) -> RankMemory:
        """The same where each layer's input alone is kept."""
        return self._memory(True)

    def _memory(self, checkpointing: bool) -> RankMemory:
        known = self.activations
        kept = 0.0 if known is None else known.checkpointed if checkpointing else known.whole
        memory = rank_memory(
            self.groups,
            self.mesh,
            compute_bytes=self.model.compute_bytes,
            activations=kept,
            head=self.head,
            accumulate=self.accumulate,
            average=self.model.average,
        )
        if checkpointing and self.model.layers:  # the copies of one layer at a time
            loss = replace(memory.loss, copies=memory.loss.copies / self.model.layers)
            return replace(memory, loss=loss)
        return memory

    @property
    def usable(self) -> float | None:
        """Bytes of a device that a run may have; None where no hardware is named."""
        return None if self.hardware is None else self.hardware.memory * self.assumed.usable

    @property
    def fits(self) -> bool:
        """Whether a rank's memory does, as far as it is known."""
        return self.usable is None or self.memory.peak <= self.usable

    @property
    def traffic(self) -> list[Collective]:
        """Every collective of a step."""
        model = self.model
        sizes = StepSizes(
            rows=self.rows_of_a_rank,
            tokens=self._tokens,
            accumulate=self.accumulate,
            compute_bytes=model.compute_bytes,
            width=model.width,
            layers=model.layers,
            keys=model.keys,
            checkpointing=self.checkpointing,
        )
        return collectives(self.groups, self.mesh, sizes)

    @property
    def time(self) -> StepTime | None:
        """Of a step; None where no hardware is named."""
        if self.hardware is None:
            return None
        work = StepWork(
            tokens=self.rows * self.model.length * self.accumulate,
            tokens_of_a_rank=self._tokens * self.accumulate,
            flops=self.model.flops,
            head_flops=self.model.head_flops,
            again=self.model.again if self.checkpointing else 0.0,
        )
        return step_time(
            self.groups,
            self.mesh,
            self.traffic,
            work,
            self.hardware,
            compute_bytes=self.model.compute_bytes,
            per_host=self.per_host,
            assumed=self.assumed,
        )

    def that_fits(self) -> "ScalingPlan | None":
        """The nearest plan that fits: as many ranks, or twice as many; one replica, then vocabulary and rows cut."""
        return next((plan for plan in self._others() if plan.fits), None)

    def _others(self) -> Iterator["ScalingPlan"]:
        size = self.mesh.size
        while size <= _MOST:
            for rows, tp, cp in itertools.product((self.rows, None), _WAYS, _WAYS):
                if size % (tp * cp) == 0 and self.model.length % cp == 0 and _has_rows(self.model.vocab_size, tp):
                    mesh = MeshPlan(shard=size // (tp * cp), cp=cp, tp=tp)
                    if cp == 1 or self.model.keys:
                        yield replace(self, mesh=mesh, rows=rows or mesh.readers)
            size = 2 * size if 2 * size <= self.per_host else self.per_host * (size // self.per_host * 2 or 1)


def require_mesh(mesh: MeshPlan, model: PlannedModel) -> None:
    """Refuse a mesh that cuts what cannot be cut so.

    Raises:
        ArgumentError: a rank would have no token of the vocabulary, or other tokens of a row than its peers.
    """
    said = option("mesh")
    rule = f"leave each of its tp ranks a part of the vocabulary of {model.vocab_size:,}"
    require(_has_rows(model.vocab_size, mesh.tp), said, rule, f"tp={mesh.tp}", "lower tp")
    rule = f"cut rows of {model.length:,} tokens into equal parts"
    require(model.length % mesh.cp == 0, said, rule, f"cp={mesh.cp}", "cp must divide them")
    rule = "come with a model whose attention is known"
    require(mesh.cp == 1 or model.keys > 0, said, rule, f"cp={mesh.cp}", "this library's decoder alone is cut so")
    assert Groups.of(mesh).body.size * mesh.dp == mesh.size


def _has_rows(vocab_size: int, tp: int) -> bool:
    """Whether torch.chunk leaves the last of `tp` ranks a row."""
    return -(-vocab_size // tp) * (tp - 1) < vocab_size
