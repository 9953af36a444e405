"""Tensor parallel heads: a weight that is a DTensor, Shard(0) over one mesh dimension -> its rows and a shard."""

import math
from dataclasses import replace

from torch import Tensor
from torch.distributed.tensor import DTensor, Shard

from lmhead.heads.fully_sharded import is_fsdp_shard
from lmhead.losses.head_tensors import HeadTensors
from lmhead.ops.sharded.vocabulary_shard import VocabularyShard


def held_by_rank(own: HeadTensors, *, own_rows: bool) -> HeadTensors:
    """What this rank holds of a head whose weight is a DTensor; any other as it is."""
    weight = own.weight
    if not isinstance(weight, DTensor) or weight.device_mesh.ndim != 1 or weight.placements != (Shard(0),):
        return own
    if is_fsdp_shard(weight):  # its ranks have other rows; the op refuses it
        return own
    mesh = weight.device_mesh
    start = mesh.get_local_rank() * math.ceil(weight.shape[0] / mesh.size())
    shard = VocabularyShard(start, weight.shape[0], mesh.get_group(), own_rows=own_rows)
    return replace(own, weight=weight.to_local(), bias=_local(own.bias), shard=shard)


def _local(bias: Tensor | None) -> Tensor | None:
    return bias.to_local() if isinstance(bias, DTensor) else bias
