"""Muon over sharded matrices (FSDP2's DTensors): every matrix is orthogonalised whole, by one rank, and none twice.

Momentum is elementwise: each rank's of its own rows. Then, for each stack of S matrices [R, C] over W ranks:

    all-to-all     rank r is given all rows of the matrices r, r + W, ...     float32, S R C / W elements a rank
    Newton-Schulz  of these, batched
    all-to-all     the rows of each update go back to who holds them          bfloat16, as many

Of these elements 1 / W stay where they are. DTensor's own products would run all five iterations of all matrices on all
ranks, with collectives in each, and round as no single process does. Here a step is equal to one process', bit for bit,
for equal gradients.
"""

from collections.abc import Hashable
from itertools import chain
from typing import final

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.tensor import DTensor

from lmhead.errors import require
from lmhead.ranks.own_part import own_part
from lmhead.training.optimizers.muon import StackedMuon, orthogonalised


@final
class ShardedMuon(StackedMuon):
    """StackedMuon for matrices whose rows lie on several ranks, which step together; plain ones beside them are whole.

    Raises:
        ArgumentError: a matrix is cut otherwise than once, by rows.
    """

    def _stack_of(self, matrix: Tensor) -> Hashable:
        placed = (matrix.device_mesh, matrix.placements) if isinstance(matrix, DTensor) else None
        return super()._stack_of(matrix), placed

    def _own(self, matrix: Tensor) -> Tensor:
        return own_part(matrix)

    def _orthogonalised(self, first: Tensor, steps: list[Tensor]) -> list[Tensor]:
        group = _holders(first) if isinstance(first, DTensor) else None
        if group is None:
            return super()._orthogonalised(first, steps)
        return _by_shares(steps, first.shape[0], group)


def _holders(matrix: DTensor) -> ProcessGroup | None:
    """The ranks that have the rows of a matrix between them; None where each has all."""
    cut = [dim for dim, placement in enumerate(matrix.placements) if not placement.is_replicate()]
    require(
        not cut or (len(cut) == 1 and matrix.placements[cut[0]].is_shard(dim=0)),
        "a matrix that Muon steps",
        "be cut once, by rows",
        f"placements {matrix.placements}",
        "give it to AdamW, or shard it by fully_shard's default",
    )
    return matrix.device_mesh.get_group(cut[0]) if cut and matrix.device_mesh.size(cut[0]) > 1 else None


def _by_shares(steps: list[Tensor], rows: int, group: ProcessGroup) -> list[Tensor]:
    """The own rows [r, C] of the orthogonal matrix to each step, whose own rows [r, C] are given."""
    ranks, columns = dist.get_world_size(group), steps[0].shape[1]
    owned = [range(rank, len(steps), ranks) for rank in range(ranks)]
    held = _rows_of_each(rows, ranks)
    mine = len(owned[dist.get_rank(group)])
    sent = [len(numbers) * steps[0].numel() for numbers in owned]
    received = [mine * count * columns for count in held]

    values = torch.cat([steps[number].reshape(-1) for number in chain.from_iterable(owned)])
    parts = torch.split(_all_to_all(values, sent, received, group), received)
    by_rank = [part.reshape(mine, count, columns) for part, count in zip(parts, held, strict=True)]
    done = torch.cat(by_rank, dim=1)
    done = orthogonalised(done) if mine else done.bfloat16()
    back = torch.cat([part.reshape(-1) for part in torch.split(done, held, dim=1)])
    updates = _all_to_all(back, received, sent, group).to(steps[0].dtype).reshape(len(steps), *steps[0].shape)
    of_each = dict(zip(chain.from_iterable(owned), updates.unbind(), strict=True))
    return [of_each[number] for number in range(len(steps))]


def _rows_of_each(rows: int, ranks: int) -> list[int]:
    """How many rows each rank has of a matrix: as torch.chunk cuts, and FSDP2 by it."""
    step = -(-rows // ranks)
    return [max(0, min(step, rows - rank * step)) for rank in range(ranks)]


def _all_to_all(values: Tensor, sent: list[int], received: list[int], group: ProcessGroup) -> Tensor:
    got = values.new_empty(sum(received))
    dist.all_to_all_single(got, values, received, sent, group=group)
    return got
