"""An agent for tests: starts ranks as torchrun does, forked off one process that has imported torch, so at once.

As torchrun's it has the store that outlives ranks, and asks those that are left to end where one of them failed.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch.distributed as dist
from tests.ranks.launched import PRELOADED, free_port

_PATIENCE = 60.0  # seconds


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
    ) -> list[Ended]:
        """The ends of `size` ranks that each do `run(place, *arguments)` with one voice.

        Args:
            run: of a module, importable by name.
            number: of the attempt.
            absent: ranks that never come.
            agentless: nobody but the ranks themselves has a store.
            counts: of a rank how often its agent says that it has restarted, where hosts differ.
        """
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([*PRELOADED, "lmhead.cli.train_ranks", "lmhead.ranks.one_voice"])
        port = free_port() if agentless else self.store.port
        processes: dict[int, BaseProcess] = {}
        with tempfile.TemporaryDirectory() as folder:
            for rank in range(size):
                if rank not in absent:
                    environment = {"RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
                    if not agentless:
                        environment |= {
                            "TORCHELASTIC_RUN_ID": self.name,
                            "TORCHELASTIC_USE_AGENT_STORE": "True",
                            "TORCHELASTIC_RESTART_COUNT": (counts or {}).get(rank, number),
                            "TORCHELASTIC_MAX_RESTARTS": self.restarts,
                        }
                    processes[rank] = context.Process(
                        target=_rank, args=(folder, rank, environment, timeout, run, arguments)
                    )
                    processes[rank].start()
            _watch(list(processes.values()))
            return [
                Ended(
                    processes[rank].exitcode if rank in processes else None,
                    *((_read(Path(folder, f"{rank}.{name}"))) for name in ("out", "errors")),
                )
                for rank in range(size)
            ]


def told(ends: list[Ended]) -> list[str]:
    """The lines that all ranks have written on standard error."""
    return [line for end in ends for line in end.errors.splitlines()]


def _watch(processes: list[BaseProcess]) -> None:
    deadline, asked = time.monotonic() + _PATIENCE, False
    while any(process.is_alive() for process in processes):
        if not asked and any(process.exitcode for process in processes):
            asked = True
            for process in processes:
                if process.is_alive():
                    os.kill(process.pid, signal.SIGTERM)
        if time.monotonic() > deadline:
            for process in processes:
                process.kill()
        time.sleep(0.02)


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""


def _rank(folder: str, rank: int, environment: dict[str, Any], timeout: float, run: Any, arguments: Any) -> None:
    for number, name in ((1, "out"), (2, "errors")):
        handle = os.open(Path(folder, f"{rank}.{name}"), os.O_WRONLY | os.O_CREAT)
        os.dup2(handle, number)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    os.environ.update({name: str(value) for name, value in environment.items()})
    from lmhead.cli.train_ranks import as_rank
    from lmhead.training.stopping import stops_at_once

    with stops_at_once():
        status = as_rank(["--timeout", str(timeout)], lambda _, place: run(place, *arguments))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
