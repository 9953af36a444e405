"""Collectives of a vocabulary-parallel head, over a process group that is known by its name."""

from collections.abc import Callable
from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup, distributed_c10d


def maximum(tensor: Tensor, group: str) -> None:
    """Make each number the largest of all ranks', in place."""
    dist.all_reduce(tensor, dist.ReduceOp.MAX, group=_group(group))


def add_up(tensor: Tensor, group: str) -> None:
    """Make each number the sum of all ranks', in place."""
    dist.all_reduce(tensor, dist.ReduceOp.SUM, group=_group(group))


def gathered(tensor: Tensor, group: str) -> list[Tensor]:
    """Every rank's tensor, of one shape, in rank order."""
    of = _group(group)
    parts = [tensor.new_empty(tensor.shape) for _ in range(dist.get_world_size(of))]
    dist.all_gather(parts, tensor, group=of)
    return parts


def _group(name: str) -> ProcessGroup:
    resolve: Callable[[Any], ProcessGroup] = distributed_c10d._resolve_process_group  # type: ignore[attr-defined]
    return resolve(name)
