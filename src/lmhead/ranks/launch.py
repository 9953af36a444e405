"""Launching the ranks of a run on this machine, by torchrun's own agent: `lmhead train --nproc 4`.

The agent starts the same command once for each rank, tells them through the environment who they are, and starts all
again where one was lost and restarts are left. What it would print, tables and tracebacks, nobody is to read: ranks
tell what happened in one line, and of those that were killed this process does.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, cast, final

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore
from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerSpec
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

from lmhead.errors import InputError, LostRankError, require
from lmhead.options import option
from lmhead.ranks.mesh import MeshPlan
from lmhead.ranks.shared_object import sweep
from lmhead.ranks.world import ATTEMPT, END, LASTING, OURS, OVER, RUN, named
from lmhead.shown import shell_word
from lmhead.stop_signals import STOP_SIGNALS

_MODULE: Final = "lmhead"  # that each rank runs
_TO_BE_TOLD: Final = 30  # seconds: for a word of the store


def require_ranks(nproc: int, mesh: str | None, device: str) -> None:
    """Refuse ranks that this machine cannot have, before any is started.

    Raises:
        ArgumentError: the mesh does not multiply to them, or there are fewer GPUs.
        InputError: torch has no back-end for them.
    """
    MeshPlan.of(mesh, nproc)
    gpus = torch.cuda.device_count() if device == "auto" or device.startswith("cuda") else 0
    if gpus or device.startswith("cuda"):
        remedy = f"one process a GPU; add {option('device', 'cpu')} to train on processors"
        require(nproc <= gpus, option("nproc"), f"be at most the {gpus} GPUs that there are", nproc, remedy)
        require(":" not in device, option("device"), "be cuda where each rank has its own", device)
        _require_backend("nccl", dist.is_available() and dist.is_nccl_available())
    _require_backend("gloo", dist.is_available() and dist.is_gloo_available())


def _require_backend(name: str, there: bool) -> None:
    if not there:
        raise InputError(
            f"{option('nproc')} must be 1 with this torch, {torch.__version__}, got more: it was built without {name}; "
            "install one from pytorch.org"
        )


def launch(words: Sequence[str], nproc: int, *, restarts: int, patience: float, told: Callable[[str], None]) -> int:
    """Run `lmhead *words` as `nproc` ranks; the exit status that one process would have had.

    Args:
        restarts: how often all are started again where one was lost.
        patience: seconds that ranks which are asked to stop have to save.
        told: hears of each restart, in a line.

    Raises:
        LostRankError: a rank ended without a word; which one, by what, and when.
    """
    with _environment(_for_ranks(nproc)), _silence():
        agent = _Agent(_spec(words, nproc, restarts), restarts=restarts, patience=patience, told=told)
        stopped: signal.Signals | None = None
        try:
            agent.run()
        except SignalException as asked:
            stopped = asked.sigval
        finally:
            agent.end()
        return agent.status(stopped)


def _spec(words: Sequence[str], nproc: int, restarts: int) -> WorkerSpec:
    name = f"{OURS}{uuid.uuid4().hex}"
    rendezvous = RendezvousParameters(
        backend="c10d",
        endpoint="localhost:0",
        run_id=name,
        min_nodes=1,
        max_nodes=1,
        local_addr="localhost",
        is_host=True,
    )
    try:
        handler = get_rendezvous_handler(rendezvous)
    except (dist.DistError, RuntimeError, OSError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise InputError(f"cannot open a port on localhost for the ranks to meet at: {reason}") from None
    return WorkerSpec(
        role="lmhead",
        local_world_size=nproc,
        entrypoint=sys.executable,
        args=tuple(word.replace("$", "$$") for word in (*_path_flags(), "-m", _MODULE, *words)),  # the agent's macros
        rdzv_handler=handler,
        max_restarts=restarts,
        monitor_interval=0.1,
        local_addr="localhost",
    )


def _path_flags() -> list[str]:
    """-m would look into the working directory first, which this process does not where it began as a script."""
    return [] if sys.path and sys.path[0] in ("", str(Path.cwd())) else ["-P"]


@final
class _Agent(LocalElasticAgent):
    """torchrun's agent of one machine, which knows how ranks ended, and starts again only what may go on."""

    def __init__(self, spec: WorkerSpec, *, restarts: int, patience: float, told: Callable[[str], None]) -> None:
        super().__init__(spec, DefaultLogsSpecs(log_dir=os.devnull), shutdown_timeout=max(1, int(patience)))
        self._restarts, self._told = restarts, told
        self._failures: dict[int, int] = {}  # rank -> exit code, negative where a signal ended it; the first ones first
        self._word = _Word()
        self._asked: signal.Signals | None = None

    def status(self, stopped: signal.Signals | None) -> int:
        """The exit status of the run.

        Raises:
            LostRankError: a rank ended without a word.
        """
        if self._word.status is not None:
            return self._word.status
        if stopped is not None:
            rest = "" if self._word.over else self._word.way_on(", ")
            self._told(f"stopped by {stopped.name}{rest}")
            return 128 + stopped.value
        if self._failures:
            raise LostRankError(f"{self._lost()}: {self._word.way_on() or 'start it again'}")
        return 0

    def _lost(self) -> str:
        rank, code = next(
            ((rank, code) for rank, code in self._failures.items() if code < 0 and -code != signal.SIGTERM),
            next(iter(self._failures.items())),
        )
        how = f"the exit status {code}" if code > 0 else f"an end by {signal.Signals(-code).name}"
        memory = " (the machine's memory may have run out)" if -code == signal.SIGKILL else ""
        return (
            f"{named([rank])} must stay until the run is over, got {how} at {self._word.where or 'the start'}{memory}"
        )

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        result: RunResult = super()._monitor_workers(worker_group)
        if result.is_failed():
            self._failures = {rank: int(failure.exitcode) for rank, failure in result.failures.items()}
            self._word = _Word.of(worker_group)
            if self._word.final:
                self._remaining_restarts = 0
        return result

    def _restart_workers(self, worker_group: WorkerGroup) -> None:
        used = self._restarts - self._remaining_restarts
        what = self._lost() if self._word.status is None else "all ranks are started again"
        self._told(f"{what}: restart {used} of {self._restarts}")
        super()._restart_workers(worker_group)
        self._word, self._failures, self._asked = _Word(), {}, None

    def _shutdown(self, death_sig: signal.Signals = signal.SIGTERM, timeout: int = 30) -> None:
        self._asked = death_sig = self._asked or death_sig  # a second request is sent as the first one was
        if death_sig == signal.SIGINT and not _Word.of(self._worker_group).begun:
            death_sig = signal.SIGTERM  # of which an interpreter that only begins makes no traceback
        super()._shutdown(death_sig, timeout)
        if self._word.status is None:
            self._word = _Word.of(self._worker_group)

    def end(self) -> None:
        """No rank outlives this, nor what it wrote for others."""
        super()._shutdown(signal.SIGKILL, 5)
        sweep()
        with contextlib.suppress(RuntimeError):
            self._rdzv_handler.shutdown()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Word:
    """What the ranks have left in the store."""

    begun: bool = False  # they have met
    status: int | None = None  # of the end that one of them told
    final: bool = False  # it would end so again
    where: str | None = None  # what they were at
    run: str | None = None  # the folder
    over: bool = False  # all is trained and evaluated

    @staticmethod
    def of(group: WorkerGroup) -> "_Word":
        where, port = cast(tuple[str | None, int | None], (group.master_addr, group.master_port))
        if where is None or port is None:  # they have not come so far
            return _Word()
        try:
            store = TCPStore(where, port, is_master=False, timeout=timedelta(seconds=_TO_BE_TOLD))
            lasting = PrefixStore(LASTING, store)
            run, over = _known(lasting, RUN), lasting.check([OVER])
            name = _known(lasting, ATTEMPT)
            if name is None:
                return _Word(run=run)
            here = PrefixStore(name, store)
            marks = [mark.split(" ", 1) for rank in range(len(group.workers)) if (mark := _known(here, f"at/{rank}"))]
            furthest = max(((int(count), what) for count, what in marks), default=None)
            end = _known(here, END)
        except dist.DistError:
            return _Word()
        return _Word(
            begun=True,
            status=None if end is None else int(end.split()[1]),
            final=end is not None and end.split()[2] == "0",
            where=None if furthest is None else furthest[1],
            run=run,
            over=over,
        )

    def way_on(self, before: str = "") -> str:
        """What goes on with the run, where there is one."""
        return "" if self.run is None else f"{before}go on with lmhead train --resume {shell_word(self.run)}"


def _known(store: Store, key: str) -> str | None:
    return store.get(key).decode() if store.check([key]) else None


def _for_ranks(nproc: int) -> dict[str, str]:
    """What the ranks find in their environment: a share of the cores, and this machine alone to talk to."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = {"OMP_NUM_THREADS": str(max(1, cores // nproc))}
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    if loopback is not None:
        wanted["GLOO_SOCKET_IFNAME"] = loopback
    handled = [each.name for each in STOP_SIGNALS if signal.getsignal(each) != signal.SIG_IGN]
    return {name: value for name, value in wanted.items() if name not in os.environ} | {
        "TORCHELASTIC_SIGNALS_TO_HANDLE": ",".join(handled)  # what is ignored stays so: SIGHUP under nohup
    }


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """torch's loggers say on standard error what is told here in a line."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
