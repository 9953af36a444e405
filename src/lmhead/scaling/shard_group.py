"""Shard groups: weights that FSDP2 gathers, and whose gradients it reduces, together: each block, and the root's.

The root has what is in no block: embedding, positions, last norm, head. It is gathered once and stays whole until its
gradients are reduced; a block is gathered in the forward and again in the backward. With tp, embedding and heads alone
are the root's, since other ranks hold them, and what is left is gathered as blocks are.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from lmhead.models.config import GPTConfig
from lmhead.models.estimate import FurtherTokens
from lmhead.ranks.mesh import MeshPlan

Shape = tuple[int, int]  # rows, which are cut, and columns; of a vector 1
Held = Literal["body", "vocabulary"]  # by which ranks: Groups.body, Groups.vocabulary
FLOAT32: Final = 4  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardGroup:
    """`count` equal groups of parameters."""

    count: int
    gathers: int  # of each, a micro-batch
    trained: tuple[Shape, ...]  # of one, float32
    frozen: tuple[Shape, ...] = ()
    frozen_bytes: float = FLOAT32  # of a number of these
    gather_bytes: float = FLOAT32  # of a trained number when it is gathered
    cast: int = 0  # numbers of one that autocast copies
    muon: tuple[Shape, ...] = ()  # of the trained, whose optimiser keeps one number each and works on whole matrices
    late: int = 0  # trained numbers whose gradients come last in the backward
    held: Held = "body"
    root: bool = False

    @property
    def parameters(self) -> int:
        """Of all `count`."""
        return self.count * (_numbers(self.trained) + _numbers(self.frozen))

    @property
    def stays(self) -> bool:
        """Whether its weights stay whole from the forward to the end of the backward."""
        return self.gathers == 1

    def weights(self, ranks: int = 1) -> float:
        """Bytes of one group that the first of so many ranks holds: rows are cut as torch.chunk cuts them."""
        return FLOAT32 * _numbers(self.trained, ranks) + self.frozen_bytes * _numbers(self.frozen, ranks)

    def gradients(self, ranks: int = 1) -> float:
        """The same of its gradients."""
        return FLOAT32 * _numbers(self.trained, ranks)

    def states(self, ranks: int = 1) -> float:
        """The same of its optimiser's: two float32 numbers each for AdamW, one for Muon."""
        return FLOAT32 * (2 * _numbers(self.trained, ranks) - _numbers(self.muon, ranks))

    def gathered(self, ranks: int) -> float:
        """Bytes of one group's weights when they are gathered, with what evens the ranks' parts out."""
        trained = self.gather_bytes * _numbers(self.trained, ranks)
        return ranks * (trained + self.frozen_bytes * _numbers(self.frozen, ranks))

    def reduced(self, ranks: int) -> float:
        """The same of its gradients, which are reduced in float32."""
        return ranks * self.gradients(ranks)

    def unreduced(self, ranks: int) -> float:
        """Bytes of its gradients before they are reduced, as its weights are gathered, and of the buffer for that."""
        return ranks * (self.gather_bytes + FLOAT32) * _numbers(self.trained, ranks)


def _numbers(shapes: tuple[Shape, ...], ranks: int = 1) -> int:
    return sum(-(-rows // ranks) * columns for rows, columns in shapes)


def shard_groups(
    config: GPTConfig,
    plan: MeshPlan,
    mtp: FurtherTokens | None = None,
    *,
    optimizer: str = "adamw",
    compute_bytes: int = FLOAT32,
) -> list[ShardGroup]:
    """The groups of the model of `config` with what `mtp` puts behind it; the root's first.

    Args:
        compute_bytes: of a number in the products. Several ranks gather blocks as they compute with them
            (ranks/sharding.py), and autocast makes no copies of them, as it does on one.
    """
    gather_bytes = compute_bytes if plan.size > 1 else FLOAT32
    blocks = _Blocks(tuple(_block(config)), muon=optimizer == "muon", gather_bytes=gather_bytes)
    frozen = mtp is not None and mtp.frozen
    groups = [blocks.group(config.num_layers, 2, frozen=frozen)]
    tables, behind = [_table(config, plan)] * (1 if config.tie_weights else 2), list[Shape]()
    further = 0  # heads
    if mtp is not None and mtp.kind == "parallel":
        further = mtp.depth
    elif mtp is not None:
        calls = mtp.depth if mtp.kind == "recurrent" else 1
        groups.append(blocks.group(mtp.modules, 2 * calls, frozen=False))
        behind += [*_module(config)] * mtp.modules
    rest, heads = [*_vectors(config, 1), *_positions(config)], [_table(config, plan)] * further
    projections = tuple(shape for shape in behind if shape[1] == 2 * config.embed_dim)
    whole = plan.tp == 1
    of_main, trained = [*(tables if whole else []), *rest], [*(heads if whole else []), *behind]
    first = ShardGroup(
        count=1,
        gathers=1 if whole else 2,
        trained=tuple(trained) if frozen else (*of_main, *trained),
        frozen=tuple(of_main) if frozen else (),
        cast=_numbers(projections),
        muon=projections if blocks.muon else (),
        late=0 if frozen or not whole else _numbers((*tables[1:], *_positions(config))),
        root=True,
    )
    if whole:
        return [first, *groups]
    vocabulary = [
        ShardGroup(
            count=1,
            gathers=1,
            trained=() if frozen and number < len(tables) else (table,),
            frozen=(table,) if frozen and number < len(tables) else (),
            late=_numbers((table,)) if number == 0 and not config.tie_weights and not frozen else 0,
            held="vocabulary",
        )
        for number, table in enumerate([*tables, *heads])
    ]
    return [first, *vocabulary, *groups]


def _table(config: GPTConfig, plan: MeshPlan) -> Shape:
    """Embedding or head of a rank of tp; the others along D where that goes (ranks/sharding.py)."""
    rows, columns = -(-config.vocab_size // plan.tp), config.embed_dim
    across = plan.tp > 1 and columns % (plan.shard * plan.cp) == 0
    return (columns, rows) if across else (rows, columns)


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Blocks of the decoder's kind."""

    shapes: tuple[Shape, ...]
    muon: bool
    gather_bytes: float

    def group(self, count: int, gathers: int, *, frozen: bool) -> ShardGroup:
        matrices = _matrices(self.shapes)
        return ShardGroup(
            count=count,
            gathers=gathers,
            trained=() if frozen else self.shapes,
            frozen=self.shapes if frozen else (),
            gather_bytes=self.gather_bytes,
            cast=_numbers(matrices) if self.gather_bytes == FLOAT32 else 0,
            muon=matrices if self.muon and not frozen else (),
        )


def _matrices(shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    return tuple(shape for shape in shapes if shape[1] > 1)


def _block(config: GPTConfig) -> Iterator[Shape]:
    """One block's parameters (models/decoder.py)."""
    D, W = config.embed_dim, config.mlp_width
    queries, keys = config.num_heads * config.head_width, config.kv_heads * config.head_width
    yield from ((queries, D), (keys, D), (keys, D), (D, queries))
    gated = config.style == "modern" and config.gated
    yield from [(W, D)] * (2 if gated else 1)
    yield (D, W)
    if config.style == "course":
        yield from ((W, 1), (D, 1))
    yield from _vectors(config, 2)
    if config.qk_norm and config.norm_weight:
        yield from [(config.head_width, 1)] * 2


def _module(config: GPTConfig) -> Iterator[Shape]:
    """What a module of multi-token prediction has beside its block: the projection, three norms."""
    yield (config.embed_dim, 2 * config.embed_dim)
    yield from _vectors(config, 3)


def _vectors(config: GPTConfig, norms: int) -> list[Shape]:
    each = 2 if config.style == "course" else int(config.norm_weight)
    return [(config.embed_dim, 1)] * (each * norms)


def _positions(config: GPTConfig) -> list[Shape]:
    return [(config.max_seq_len, config.embed_dim)] if config.style == "course" else []
