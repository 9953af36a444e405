"""Tensor-parallel heads: a weight that is a DTensor, cut by rows over a mesh, as the op's VocabularyShard.

The weight's own rows are taken as they are, with a gradient that is a DTensor again; hidden states are made whole on
every rank. Parameters that FSDP2 has sharded look alike, but each of its ranks has a batch of its own: they are left
to the op, which refuses them, unless FSDP2 has gathered them before (fully_sharded.py).
"""

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lmhead.errors import ArgumentError, require
from lmhead.heads.fully_sharded import is_fsdp_shard
from lmhead.losses.head_tensors import HeadTensors
from lmhead.ops.adapter import LowRankAdapter
from lmhead.ops.sharded.vocabulary_shard import VocabularyShard
from lmhead.ops.tensor_values import is_dtensor

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor


def held_by_rank(
    tensors: HeadTensors, adapters: tuple[LowRankAdapter, ...] = (), *, own_rows: bool = False
) -> HeadTensors:
    """This rank's rows of a head whose weight is a DTensor, Shard(0) on a mesh of one dimension; any other as it is.

    Args:
        adapters: further ones.
        own_rows: each rank has hidden states of its own (VocabularyShard).

    Raises:
        ArgumentError: a rank has no rows, or something that goes by rows is not cut as the weight is.
    """
    weight, adapters = tensors.weight, (*tensors.adapters, *adapters)
    if not is_dtensor(weight) or not _is_cut_by_rows(weight) or is_fsdp_shard(weight):
        return replace(tensors, adapters=adapters)
    mesh, V = weight.device_mesh, weight.shape[0]
    ranks, rows = mesh.size(), math.ceil(V / mesh.size())
    require(rows * (ranks - 1) < V, "weight", f"have rows for each of {ranks} ranks", V, "pad the vocabulary")
    start = mesh.get_local_rank() * rows
    own = _local("weight", weight, mesh)
    fits = own.shape[0] == min(rows, V - start)
    require(fits, "weight", "be cut as torch.chunk cuts", f"{own.shape[0]} rows from {start} on", "distribute_tensor")
    return HeadTensors(
        weight=own,
        bias=None if tensors.bias is None else _local("bias", tensors.bias, mesh),
        adapters=tuple(_adapter(each, mesh) for each in adapters),
        shard=VocabularyShard(start, V, mesh.get_group(), own_rows=own_rows),
    )


def whole_states(hiddens: Sequence[Tensor], own: HeadTensors) -> tuple[list[Tensor], HeadTensors]:
    """Hidden states that may be DTensors on the head's mesh, whole on each rank; and the head that scores them.

    Where some are sharded (sequence parallel) each rank's part of the gradient is left to DTensor, which
    reduce-scatters it. DTensors beside a head that is no tensor-parallel one are left to the op, which refuses them.
    """
    if own.shard is None or own.shard.own_rows or not any(map(is_dtensor, hiddens)):
        return list(hiddens), own
    from torch.distributed.tensor import DTensor, Partial, Replicate

    mesh = next(hidden.device_mesh for hidden in hiddens if is_dtensor(hidden))
    same = mesh.ndim == 1 and mesh.get_group() == own.shard.group
    require(same, "hidden", "be on the mesh of the head's weight", mesh, "redistribute it before")
    scattered = any(is_dtensor(hidden) and hidden.placements[0].is_shard() for hidden in hiddens)

    def whole(hidden: Tensor) -> Tensor:
        if not is_dtensor(hidden):
            if not scattered:
                return hidden
            hidden = DTensor.from_local(hidden, mesh, [Replicate()], run_check=False)
        made: Tensor = hidden.redistribute(placements=[Replicate()]).to_local(
            grad_placements=[Partial() if scattered else Replicate()]
        )
        return made

    shard = replace(own.shard, partial_hidden_gradient=scattered)
    return [whole(hidden) for hidden in hiddens], replace(own, shard=shard)


def _is_cut_by_rows(tensor: "DTensor") -> bool:
    return tensor.device_mesh.ndim == 1 and tensor.placements[0].is_shard(0)


def _local(name: str, tensor: Tensor, mesh: "DeviceMesh") -> Tensor:
    """This rank's rows of what is cut as the weight is."""
    alike = is_dtensor(tensor) and tensor.device_mesh == mesh and _is_cut_by_rows(tensor)
    if not alike:
        kind = f"{tensor.placements} on {tensor.device_mesh}" if is_dtensor(tensor) else "a plain Tensor"
        raise ArgumentError(
            f"{name} must be a DTensor cut as the weight is, Shard(0), got {kind}: distribute_tensor it"
        )
    local: Tensor = tensor.to_local()  # type: ignore[attr-defined]
    return local


def _adapter(adapter: LowRankAdapter, mesh: "DeviceMesh") -> LowRankAdapter:
    """`up` and `magnitude` go by rows; the others are the same on all ranks."""
    parts: dict[str, Any] = {}
    for field in fields(adapter):
        part = getattr(adapter, field.name)
        if part is None or not isinstance(part, Tensor):
            continue
        if field.name in ("up", "magnitude"):
            parts[field.name] = _local(f"adapter.{field.name}", part, mesh)
        elif is_dtensor(part):
            whole = part.device_mesh == mesh and part.placements[0].is_replicate()
            require(whole, f"adapter.{field.name}", "be Replicate() on the weight's mesh", part.placements)
            parts[field.name] = part.to_local()
    return replace(adapter, **parts)
