"""Watch over the ranks of a run: a thread of each says how far it is, and ends it where the run has ended without it.

It looks for two things: its agent is gone, so that nobody is left to end it; another rank has told how the run ended,
and this one hangs. How far each rank is names the one that the others wait for. Of rank 0, for which they wait as long
as it works, it says that it does.
"""

import contextlib
import os
import signal
import socket
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Final, final

import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from lmhead.ranks.at_work import Work
from lmhead.ranks.world import END, USED, World, named

_EVERY: Final = 1.0  # seconds
_GRACE: Final = 10.0  # seconds that a rank has to end by itself, once another one has told the end
_PATIENCE: Final = 3.0  # seconds in which ranks that wait for another one say so
_HUNG: Final = 1


@final
class Watch:
    """One rank's watch."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._mark = ("the start", 0)  # what it is at, and how many collectives it has come to
        self._told: tuple[str, int] | None = None
        self._agent = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None
        self._over = threading.Event()
        self._work, self._used = Work(), 0
        world.store.set(f"process/{world.rank}", f"{_this_host()} {os.getpid()}")
        self._store = _another_client(world)
        self._thread = threading.Thread(target=self._look, name="lmhead-watch", daemon=True)
        self._thread.start()

    def at(self, what: str) -> None:
        """Note what this rank is at: "step 7"."""
        self._mark = (what, self._mark[1])

    def collective(self) -> None:
        """Note that this rank comes to what all ranks do together."""
        self._mark = (self._mark[0], self._mark[1] + 1)

    def stop(self) -> bool:
        """The run is over: let the thread end. Whether it has; it has not where the store does not answer.

        An interpreter that ends while a thread of it is in a call of torch's aborts: the thread is ended where it comes
        back, and by C++ that may not be left so.
        """
        self._over.set()
        self._thread.join(_GRACE)
        return not self._thread.is_alive()

    def _look(self) -> None:
        claimed: float | None = None
        while not self._over.wait(_EVERY):
            if self._agent is not None and os.getppid() != self._agent:
                self._end_without_agent()
            with contextlib.suppress(dist.DistError):
                self._publish()
                self._publish_work()
                if claimed is None and self._store.check([END]):
                    claimed = time.monotonic()
            if claimed is not None and time.monotonic() - claimed > _GRACE and not self._tells():
                os._exit(_HUNG)

    def _tells(self) -> bool:
        with contextlib.suppress(dist.DistError):
            return self._store.get(END).split()[0] == str(self.world.rank).encode()
        return self.world.first

    def _end_without_agent(self) -> None:
        """End as by SIGTERM: each rank of this host has lost the same agent, and those of others lose their peers."""
        os.kill(os.getpid(), signal.SIGTERM)
        if not self._over.wait(self.world.timeout):
            os._exit(_HUNG)

    def _publish(self) -> None:
        if self._mark != self._told:
            self._told = self._mark
            self._store.set(f"at/{self.world.rank}", f"{self._mark[1]} {self._mark[0]}")

    def _publish_work(self) -> None:
        if self.world.first and self._work.goes_on():
            self._used += 1
            self._store.set(USED, str(self._used))

    def lost(self) -> str | None:
        """Whom this rank waits for in vain, in words; None where that is told already.

        Takes some seconds, in which others that wait say so.
        """
        world, store = self.world, self._store
        with contextlib.suppress(dist.DistError):
            self._told = None
            self._publish()
            store.set(f"waits/{world.rank}", "")
            deadline = time.monotonic() + _PATIENCE
            while time.monotonic() < deadline:
                if world.end() is not None:
                    return None
                if gone := self.gone():
                    return f"{named(gone)} ended without a word at {self._where()}"
                if all(store.check([f"waits/{rank}"]) for rank in range(world.size)):
                    break
                time.sleep(0.1)
            behind = self._behind()
            return f"no sign of {named(behind)} since {self._where()}" if behind else f"an end at {self._where()}"
        return f"the end of the process that had their store, at {self._mark[0]}"

    def gone(self) -> list[int]:
        """Ranks of this host whose process has ended; none where the store is gone."""
        found: list[int] = []
        with contextlib.suppress(dist.DistError):
            for rank in range(self.world.size):
                if not self._store.check([f"process/{rank}"]):
                    continue
                host, process = self._store.get(f"process/{rank}").decode().rsplit(" ", 1)
                if host == _this_host() and not _is_alive(int(process)):
                    found.append(rank)
        return found

    def _where(self) -> str:
        """What the ranks are at that are furthest."""
        return max(self._marks().values())[1]

    def _marks(self) -> dict[int, tuple[int, str]]:
        marks = {}
        for rank in range(self.world.size):
            if self._store.check([f"at/{rank}"]):
                count, what = self._store.get(f"at/{rank}").decode().split(" ", 1)
                marks[rank] = (int(count), what)
        return marks

    def _behind(self) -> list[int]:
        """Ranks that do not wait for another; of those that do, those which are behind."""
        silent = [rank for rank in range(self.world.size) if not self._store.check([f"waits/{rank}"])]
        marks = self._marks()
        most = max(count for count, _ in marks.values())
        return silent or [rank for rank, (count, _) in marks.items() if count < most]


def _another_client(world: World) -> Store:
    """The store by a connection of its own: one that waits holds up whoever shares it."""
    clone = TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=False,
        timeout=timedelta(seconds=30),
    )
    return PrefixStore(world.name, clone)


def _this_host() -> str:
    """Of processes that see each other: a machine, or a container."""
    with contextlib.suppress(OSError):
        return f"{socket.gethostname()} {Path('/proc/self/ns/pid').readlink()}"
    return socket.gethostname()


def _is_alive(process: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
