"""Rank group: ranks that take part in one collective, and where they stand. What a rank sends there, by link."""

from dataclasses import dataclass
from typing import Final, Literal

from lmhead.ranks.mesh import MeshPlan

Kind = Literal["all-gather", "reduce-scatter", "all-reduce", "all-to-all"]
_ROUNDS: Final[dict[Kind, int]] = {"all-gather": 1, "reduce-scatter": 1, "all-reduce": 2, "all-to-all": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class RankGroup:
    """`size` ranks, whose numbers differ by `stride`."""

    size: int
    stride: int = 1

    def on_a_host(self, per_host: int) -> int:
        """How many of them share a host of so many devices."""
        return max(1, min(self.size, per_host // self.stride))


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Those of a mesh. The last named of dp, shard, cp, tp are neighbours."""

    body: RankGroup  # hold the body's weights between them
    replicas: RankGroup  # hold the same part of them
    vocabulary: RankGroup  # hold a part of the vocabulary between them; without tp as the body
    cp: RankGroup
    tp: RankGroup

    @staticmethod
    def of(plan: MeshPlan) -> "Groups":
        """The groups of a plan."""
        whole = plan.shard * plan.cp * plan.tp
        return Groups(
            body=RankGroup(size=whole),
            replicas=RankGroup(size=plan.dp, stride=whole),
            vocabulary=RankGroup(size=plan.shard * plan.cp, stride=plan.tp),
            cp=RankGroup(size=plan.cp, stride=plan.tp),
            tp=RankGroup(size=plan.tp),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Collective:
    """Equal collectives of one step, and what they move.

    Ring algorithms, as NCCL's: of a tensor of B bytes over s ranks each rank sends B (s - 1) / s for an all-gather, a
    reduce-scatter and an all-to-all, twice that for an all-reduce (Patarasuk and Yuan, "Bandwidth optimal all-reduce
    algorithms for clusters of workstations" (2009)). Where s ranks are on several hosts, with g of them on each, a
    ring leaves each host once, and g rings share its network.
    """

    name: str
    kind: Kind
    size: float  # bytes of the tensor in one call: the whole that is gathered or reduced; to all, what a rank has
    calls: float  # a step
    group: RankGroup

    @property
    def sent(self) -> float:
        """Bytes that a rank sends in a step."""
        s = self.group.size
        return _ROUNDS[self.kind] * self.size * self.calls * (s - 1) / s

    def by_link(self, per_host: int) -> tuple[float, float]:
        """(bytes sent within the host, bytes sent to other hosts) by a rank in a step."""
        local = self.group.on_a_host(per_host)
        if local == self.group.size:
            return self.sent, 0.0
        return self.sent * (local - 1) / local, self.sent / local

    def seconds(self, *, link: float, network: float, hop: float, per_host: int) -> float:
        """Of a step's calls, one after the other: the slower of both links, and `hop` for each turn of a ring."""
        within, between = self.by_link(per_host)
        turns = _ROUNDS[self.kind] * (self.group.size - 1)
        return max(within / link, between / network) + self.calls * turns * hop
