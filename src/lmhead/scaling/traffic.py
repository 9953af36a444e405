"""Traffic of a step: every collective of a rank, in bytes. Of the mesh's dimensions, each has its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from lmhead.ranks.mesh import MeshPlan
from lmhead.scaling.rank_group import Collective, Groups, RankGroup
from lmhead.scaling.shard_group import FLOAT32, ShardGroup

_IDS = 8  # bytes of a token id
_JOINED = 4  # float32 columns that one SUM joins for each token, beside one of the MAX


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StepSizes:
    """What of a step decides its traffic, beside the weights."""

    rows: int  # of a micro-batch, that one rank reads
    tokens: float  # of these rows, that one rank has
    accumulate: int  # micro-batches
    compute_bytes: int
    width: int  # D
    layers: int  # which gather keys and values
    keys: int  # width of a layer's keys of all heads; 0 where it is not known
    checkpointing: bool = False  # layers run again in the backward


def collectives(groups: Sequence[ShardGroup], plan: MeshPlan, step: StepSizes) -> list[Collective]:
    """Those of a step, of more than one rank each."""
    of = Groups.of(plan)
    found = [*_weights(groups, of, step), *_vocabulary(of.tp, step), *_context(of.cp, step), *_muon(groups, of)]
    return [each for each in found if each.group.size > 1 and each.calls and each.size]


def _weights(groups: Sequence[ShardGroup], of: Groups, step: StepSizes) -> Iterator[Collective]:
    """Every group's weights gathered, and its gradients reduced in float32, in each micro-batch."""
    for group in groups:
        holders = of.body if group.held == "body" else of.vocabulary
        calls = group.count * step.accumulate
        what = "root" if group.root else "blocks" if group.held == "body" else "vocabulary"
        size = group.gathered(holders.size)
        backward = group.gathers // 2 if group.gathers > 1 else 0
        yield _collective(
            f"weights of the {what}, forward", "all-gather", size, calls * (group.gathers - backward), holders
        )
        yield _collective(f"weights of the {what}, backward", "all-gather", size, calls * backward, holders)
        yield _collective(f"gradients of the {what}", "reduce-scatter", group.reduced(holders.size), calls, holders)
        share = group.gradients(holders.size)
        yield _collective(f"gradients of the {what}, over dp", "all-reduce", share, calls, of.replicas)


def _vocabulary(tp: RankGroup, step: StepSizes) -> Iterator[Collective]:
    """Of the vocabulary's shards: ids and embeddings, hidden states, and the softmax joined over the shards."""
    tokens, calls = step.tokens * tp.size, step.accumulate
    wide, narrow = tokens * step.width * FLOAT32, tokens * step.width * step.compute_bytes
    yield _collective("ids along tp", "all-gather", tokens * _IDS, calls, tp)
    yield _collective("embeddings along tp", "reduce-scatter", wide, calls, tp)
    yield _collective("their gradients", "all-gather", wide, calls, tp)
    yield _collective("hidden states along tp", "all-gather", narrow, calls, tp)
    yield _collective("their gradients", "reduce-scatter", narrow, calls, tp)
    yield _collective("targets and weights along tp", "all-gather", tokens * (_IDS + FLOAT32), calls, tp)
    yield _collective("softmax joined: MAX", "all-reduce", tokens * FLOAT32, calls, tp)
    yield _collective("softmax joined: SUM", "all-reduce", tokens * FLOAT32 * _JOINED, calls, tp)


def _context(cp: RankGroup, step: StepSizes) -> Iterator[Collective]:
    """Of rows that lie on several ranks: every layer's keys and values."""
    size = 2 * step.tokens * cp.size * step.keys * step.compute_bytes
    calls = step.layers * step.accumulate
    again = calls * (1 + step.checkpointing)
    yield _collective("keys and values along cp", "all-gather", size, again, cp)
    yield _collective("their gradients along cp", "reduce-scatter", size, calls, cp)


def _muon(groups: Sequence[ShardGroup], of: Groups) -> Iterator[Collective]:
    """Matrices made whole, float32, and their updates given back, bfloat16: training/optimizers/sharded_muon.py."""
    ranks = of.body.size
    held = sum(group.count * -(-rows // ranks) * columns for group in groups for rows, columns in group.muon)
    yield _collective("Muon's matrices, there", "all-to-all", FLOAT32 * held, 1, of.body)
    yield _collective("Muon's updates, back", "all-to-all", 2 * held, 1, of.body)


def _collective(name: str, kind: str, size: float, calls: float, group: RankGroup) -> Collective:
    return Collective(name=name, kind=kind, size=size, calls=calls, group=group)  # type: ignore[arg-type]
