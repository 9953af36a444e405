"""Joining the ranks of a run: what torchrun says in the environment -> Ranks."""

import os
from datetime import timedelta

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore

from lmhead.errors import require
from lmhead.options import option
from lmhead.ranks.mesh import MeshPlan
from lmhead.ranks.process_ranks import ProcessRanks
from lmhead.ranks.ranks import ALONE, Ranks
from lmhead.ranks.watch import Watch
from lmhead.ranks.world import World


def join(
    mesh: str | None, *, device: torch.device, timeout: float, world: World | None = None, watch: Watch | None = None
) -> Ranks:
    """The ranks that torchrun started, or the one process that this is.

    Args:
        world: that this process is in already; None: the one that the environment names.
        watch: that is told how far this rank is; None: one that is begun here.

    Raises:
        LostRankError: one of them does not come within the time-out.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        require(MeshPlan.of(mesh, 1).size == 1, option("mesh"), "come with several processes", mesh)
        return ALONE
    plan = MeshPlan.of(mesh, int(os.environ["WORLD_SIZE"]))
    if world is None:
        world = World.entered(timeout)
    limit = timedelta(seconds=timeout)
    backend = "gloo"
    if device.type == "cuda":
        local, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        require(local < there, option("nproc"), f"be at most the {there} GPUs of each machine", f"rank {local} on one")
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(
        backend, store=PrefixStore("groups", world.store), rank=world.rank, world_size=world.size, timeout=limit
    )
    return ProcessRanks(
        PrefixStore("lmhead", world.store),
        plan,
        rank=world.rank,
        host=world.host,
        device=device,
        timeout=timeout,
        watch=watch or Watch(world),
    )
