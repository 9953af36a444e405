"""The ranks of torch.distributed: collectives over a process group, and a store for what has no time of its own."""

import pickle
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final, TypeVar, final

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import Store
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from lmhead.errors import LmheadError
from lmhead.ranks.mesh import NAMES, MeshPlan
from lmhead.ranks.ranks import Ranks
from lmhead.ranks.shared_object import share

T = TypeVar("T")

_LOOK_AGAIN: Final = timedelta(seconds=2)


class LostRankError(LmheadError):
    """Another rank ended, or does not come to what all ranks do together; the message says which."""


@final
class ProcessRanks(Ranks):
    """One of several processes.

    Args:
        host: the number of the machine.
        device: of this rank.
        store: of this attempt; the agent's of torchrun, which outlives ranks that end.
        timeout: seconds until a rank that does nothing is called hung.
    """

    def __init__(
        self, store: Store, plan: MeshPlan, *, rank: int, host: int, device: torch.device, timeout: float
    ) -> None:
        self.store, self.plan, self.rank, self.host, self.device = store, plan, rank, host, device
        self.timeout = timeout
        limit = timedelta(seconds=timeout)
        self.control = dist.new_group(backend="gloo", timeout=limit)  # of CPU tensors
        hosts = self.everyone(host)
        leaders = sorted({each: hosts.index(each) for each in hosts}.values())
        self.leads_host = rank in leaders  # one rank of each host does what is done once there
        self.leaders = dist.new_group(leaders, backend="gloo", timeout=limit) if len(leaders) > 1 else None
        self.body, self.mesh = _meshes(plan, device)
        self._agreements = 0
        self._beats = 0
        self._beaten = 0.0

    def summed(self, values: Sequence[float]) -> list[float]:
        """The sum over all ranks of each value, in float64: one collective. Equal on all ranks."""
        sums = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(sums, group=self.control)
        return sums.tolist()

    def agreed(self, work: Callable[[], T], *, limit: bool = True) -> T:
        """What `work` gives on rank 0, where alone it is done; what it raises there, on all ranks."""
        self._agreements += 1
        key = f"agreed/{self._agreements}"
        if self.first:
            return self._told(key, work)
        said, made = pickle.loads(self._awaited(key, limit=limit))
        if said == "error":
            raise made
        result: T = made
        return result

    def _told(self, key: str, work: Callable[[], T]) -> T:
        try:
            made = work()
        except BaseException as error:
            self.store.set(key, _picklable_error(error))  # type: ignore[arg-type]  # of bytes, too
            raise
        self.store.set(key, pickle.dumps(("made", made)))  # type: ignore[arg-type]  # of bytes, too
        return made

    def _awaited(self, key: str, *, limit: bool) -> bytes:
        """What rank 0 sets, as long as it is seen to be at work."""
        beats, since = b"", time.monotonic()
        while True:
            try:
                self.store.wait([key], _LOOK_AGAIN)
                said: bytes = self.store.get(key)
                return said
            except dist.DistStoreError:  # not yet
                pass
            now = self.store.get("beat") if self.store.check(["beat"]) else b""
            if now != beats:
                beats, since = now, time.monotonic()
            if limit and time.monotonic() - since > self.timeout:
                raise LostRankError(
                    f"rank 0 must be at work within the time-out of {self.timeout:g} s, got no sign of it: it hangs"
                )

    def beat(self) -> None:
        """Tell the others, who wait, that this rank is at work; at most twice a second."""
        if self.first and time.monotonic() - self._beaten > 0.5:
            self._beats, self._beaten = self._beats + 1, time.monotonic()
            self.store.set("beat", str(self._beats))

    def shared(self, work: Callable[[], T]) -> T:
        """As `agreed`, of something large: arrays in it are one file on each host, which its ranks map."""
        return share(self, work)

    def gathered(self, value: T) -> list[T] | None:
        """Of every rank its value, in rank order, on rank 0; None on the others."""
        into: list[Any] | None = [None] * self.size if self.first else None
        dist.gather_object(value, into, dst=0, group=self.control)
        return into

    def everyone(self, value: T) -> list[T]:
        """Of every rank its value, in rank order, on all ranks."""
        into: list[Any] = [None] * self.size
        dist.all_gather_object(into, value, group=self.control)
        return into

    def leave(self) -> None:
        """The run is over: no call is made any more."""
        dist.barrier(group=self.control)
        dist.destroy_process_group()


def _picklable_error(error: BaseException) -> bytes:
    try:
        return pickle.dumps(("error", error))
    except Exception:  # noqa: BLE001  whatever an error holds
        return pickle.dumps(("error", LostRankError(f"rank 0 failed: {type(error).__name__}: {error}")))


def _meshes(plan: MeshPlan, device: torch.device) -> tuple[DeviceMesh, DeviceMesh]:
    """(what the body's weights are sharded over: replicas x the rest, or the rest alone; all four dimensions)."""
    whole = init_device_mesh(device.type, tuple(getattr(plan, name) for name in NAMES), mesh_dim_names=NAMES)
    rest = plan.size // plan.dp
    if plan.dp == 1:
        return init_device_mesh(device.type, (rest,), mesh_dim_names=("shard",)), whole
    return init_device_mesh(device.type, (plan.dp, rest), mesh_dim_names=("dp", "shard")), whole
