"""Joining the ranks of a run: what torchrun says in the environment -> Ranks."""

import os
from datetime import timedelta

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from lmhead.errors import require
from lmhead.options import option
from lmhead.ranks.mesh import MeshPlan
from lmhead.ranks.process_ranks import ProcessRanks
from lmhead.ranks.ranks import ALONE, Ranks


def join(mesh: str | None, *, device: torch.device, timeout: float) -> Ranks:
    """The ranks that torchrun started, or the one process that this is.

    Each attempt of torchrun has keys of its own in the store that outlives it: with the keys of an attempt that was
    killed, every second restart would fail.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        require(MeshPlan.of(mesh, 1).size == 1, option("mesh"), "come with several processes", mesh)
        return ALONE
    plan = MeshPlan.of(mesh, int(os.environ["WORLD_SIZE"]))
    limit = timedelta(seconds=timeout)
    store, rank, world = next(rendezvous("env://", timeout=limit))
    store = PrefixStore(f"attempt_{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=limit)
    return ProcessRanks(
        PrefixStore("lmhead", store),
        plan,
        rank=rank,
        host=int(os.environ.get("GROUP_RANK", "0")),
        device=device,
        timeout=timeout,
    )
