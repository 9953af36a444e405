"""An agent for tests: starts ranks as torchrun does, forked off one process that has imported torch, so at once.

As torchrun's it has the store that outlives ranks, and asks those that are left to end where one of them failed.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import torch.distributed as dist
from tests.ranks.launched import forking, free_port

_PATIENCE = 300.0  # seconds of a whole attempt
_GRACE = 20.0  # seconds of a rank that is asked to end


@dataclass(frozen=True, slots=True)
class Ended:
    """How a rank ended: its exit code, negative where a signal ended it, and what it said."""

    code: int | None
    out: str
    errors: str


class Agent:
    """Of one machine, or of the first of several; `launched` as the one of `lmhead train --nproc`."""

    def __init__(self, *, launched: bool = False, restarts: int = 0) -> None:
        self.store = dist.TCPStore("127.0.0.1", 0, is_master=True, timeout=timedelta(seconds=5), wait_for_workers=False)
        self.name = "lmhead-test" if launched else "test"
        self.restarts = restarts

    def attempt(
        self,
        size: int,
        run: Callable[..., int],
        *arguments: Any,
        number: int = 0,
        timeout: float = 30.0,
        absent: tuple[int, ...] = (),
        agentless: bool = False,
        counts: dict[int, int] | None = None,
        asks: bool = True,
    ) -> list[Ended]:
        """The ends of `size` ranks that each do `run(place, *arguments)` with one voice.

        Args:
            run: of a module, importable by name.
            number: of the attempt.
            absent: ranks that never come.
            agentless: nobody but the ranks themselves has a store.
            counts: of a rank how often its agent says that it has restarted, where hosts differ.
            asks: those that are left to end, where one of them failed; else they have to find that out.
        """
        context = forking()
        port = free_port() if agentless else self.store.port
        processes: dict[int, BaseProcess] = {}
        heard: dict[int, list[Connection]] = {}
        for rank in set(range(size)) - {*absent}:
            environment = {"RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            if not agentless:
                environment |= {
                    "TORCHELASTIC_RUN_ID": self.name,
                    "TORCHELASTIC_USE_AGENT_STORE": "True",
                    "TORCHELASTIC_RESTART_COUNT": (counts or {}).get(rank, number),
                    "TORCHELASTIC_MAX_RESTARTS": self.restarts,
                }
            pipes = [context.Pipe(duplex=False) for _ in range(2)]  # of its output, and of its errors
            heard[rank] = [ours for ours, _ in pipes]
            processes[rank] = context.Process(
                target=_rank, args=([theirs for _, theirs in pipes], environment, timeout, run, arguments)
            )
            processes[rank].start()
            for _, theirs in pipes:
                theirs.close()
        _watch(list(processes.values()), asks=asks)
        return [
            Ended(processes[rank].exitcode, *map(_read, heard[rank])) if rank in processes else Ended(None, "", "")
            for rank in range(size)
        ]


def told(ends: list[Ended]) -> list[str]:
    """The lines that all ranks have written on standard error."""
    return [line for end in ends for line in end.errors.splitlines()]


def _watch(processes: list[BaseProcess], *, asks: bool) -> None:
    deadline, asked = time.monotonic() + _PATIENCE, not asks
    while any(process.is_alive() for process in processes):
        if not asked and any(process.exitcode for process in processes):
            asked, deadline = True, time.monotonic() + _GRACE
            for process in processes:
                with contextlib.suppress(ProcessLookupError):  # it may end meanwhile
                    if process.is_alive():
                        os.kill(process.pid, signal.SIGTERM)
        if time.monotonic() > deadline:
            for process in processes:
                process.kill()
        time.sleep(0.02)


def _read(pipe: Connection) -> str:
    """What a process that has ended wrote, up to what a pipe holds."""
    os.set_blocking(pipe.fileno(), False)
    with contextlib.suppress(BlockingIOError):
        return os.read(pipe.fileno(), 1 << 16).decode()
    return ""


def _rank(pipes: list[Connection], environment: dict[str, Any], timeout: float, run: Any, arguments: Any) -> None:
    for number, pipe in enumerate(pipes, 1):
        os.dup2(pipe.fileno(), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    os.environ.update({name: str(value) for name, value in environment.items()})
    from lmhead.cli.train_ranks import as_rank
    from lmhead.training.stopping import Stopped, exit_status, stops_at_once

    try:
        with stops_at_once():
            status = as_rank(["--timeout", str(timeout)], lambda _, place: run(place, *arguments))
    except Stopped as stopped:  # before there were any ranks
        status = exit_status(stopped.name)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
