"""The ranks of torch.distributed: collectives over a process group, and a store for what has no time of its own."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar, final

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import Store
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.distributed_c10d import _set_pg_timeout

from lmhead.ranks.agreement import Agreements
from lmhead.ranks.mesh import NAMES, MeshPlan
from lmhead.ranks.ranks import Ranks
from lmhead.ranks.shared_object import share
from lmhead.ranks.watch import Watch

T = TypeVar("T")


@final
class ProcessRanks(Ranks):
    """One of several processes.

    Args:
        host: the number of the machine.
        device: of this rank.
        store: of this attempt; the agent's of torchrun, which outlives ranks that end.
        timeout: seconds until a rank that does nothing is called hung.
        watch: hears of each collective that this rank comes to, and of what it is at.
    """

    def __init__(
        self,
        store: Store,
        plan: MeshPlan,
        *,
        rank: int,
        host: int,
        device: torch.device,
        timeout: float,
        watch: Watch,
    ) -> None:
        self.store, self.plan, self.rank, self.host, self.device = store, plan, rank, host, device
        self.timeout, self._watch = timeout, watch
        limit = timedelta(seconds=timeout)
        self.control = dist.new_group(backend="gloo", timeout=limit)  # of CPU tensors
        hosts = self.everyone(host)
        leaders = sorted({each: hosts.index(each) for each in hosts}.values())
        self.leads_host = rank in leaders  # one rank of each host does what is done once there
        self.leaders = dist.new_group(leaders, backend="gloo", timeout=limit) if len(leaders) > 1 else None
        self.body, self.mesh = _meshes(plan, device)
        for mesh in (self.body, self.mesh):
            for group in mesh.get_all_groups():  # which the meshes make with half an hour
                _set_pg_timeout(limit, group)
        self._agreements = Agreements(store, first=rank == 0, timeout=timeout, used=watch.world.used)

    def summed(self, values: Sequence[float]) -> list[float]:
        """The sum over all ranks of each value, in float64: one collective. Equal on all ranks."""
        self._comes()
        sums = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(sums, group=self.control)
        return sums.tolist()

    def agreed(self, work: Callable[[], T], *, long: bool = False) -> T:
        """What `work` gives on rank 0, where alone it is done; what it raises there, on all ranks."""
        return self._agreements.agreed(work, long=long)

    def beat(self) -> None:
        """Tell the others, who wait, that this rank is at work; at most twice a second."""
        self._agreements.beat()

    def shared(self, work: Callable[[], T]) -> T:
        """As `agreed`, of something large: arrays in it are one file on each host, which its ranks map."""
        return share(self, work)

    def gathered(self, value: T) -> list[T] | None:
        """Of every rank its value, in rank order, on rank 0; None on the others."""
        self._comes()
        into: list[Any] | None = [None] * self.size if self.first else None
        dist.gather_object(value, into, dst=0, group=self.control)
        return into

    def everyone(self, value: T) -> list[T]:
        """Of every rank its value, in rank order, on all ranks."""
        self._comes()
        into: list[Any] = [None] * self.size
        dist.all_gather_object(into, value, group=self.control)
        return into

    def at(self, what: str) -> None:
        """Say what this rank is at, "step 7": where it is lost, that is told."""
        self._watch.at(what)

    def began(self, folder: str) -> None:
        """Say that the folder is a run's from now on: where all ranks are started again, they resume it."""
        self._watch.world.began(folder)

    def over(self) -> None:
        """Say that all is trained and evaluated: whoever is stopped from now on has nothing to go on with."""
        self._watch.world.over()

    def _comes(self) -> None:
        self._watch.collective()

    def leave(self) -> None:
        """The run is over: no call is made any more. Rank 0, which reports, is waited for as long as it works."""
        self.agreed(lambda: None, long=True)
        dist.barrier(group=self.control)
        self._watch.world.claims_end(0)  # before any is gone: who is asked to stop from now on has ended well
        self._watch.stop()
        dist.destroy_process_group()


def _meshes(plan: MeshPlan, device: torch.device) -> tuple[DeviceMesh, DeviceMesh]:
    """(what the body's weights are sharded over: replicas x the rest, or the rest alone; all four dimensions)."""
    whole = init_device_mesh(device.type, tuple(getattr(plan, name) for name in NAMES), mesh_dim_names=NAMES)
    rest = plan.size // plan.dp
    if plan.dp == 1:
        return init_device_mesh(device.type, (rest,), mesh_dim_names=("shard",)), whole
    return init_device_mesh(device.type, (plan.dp, rest), mesh_dim_names=("dp", "shard")), whole
