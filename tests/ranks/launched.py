"""Runs a function on several ranks: gloo processes, forked off one that has imported torch, so that they start at once.

def square(ranks, number): return ranks.rank * number
assert on_ranks(2, square, 3) == [0, 3]
"""

import contextlib
import multiprocessing
import os
import pickle
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from typing import Any

import pytest
import torch

# What FSDP2 and optimizers import at their first step, torch._dynamo, takes a rank more than most of what is tested.
_PRELOADED = [
    *("torch", "torch._dynamo", "torch.distributed.fsdp", "torch.distributed.checkpoint", "pytest"),
    *("lmhead", "lmhead.training.loop", "lmhead.cli.train_ranks", "lmhead.data.labelling.workers"),
    "tests.ranks.frozen",  # behind all others
]


def forking() -> ForkServerContext:
    """Of processes that start at once: a process that has imported all that ranks need forks itself for each of them.

    There is one such process for all tests of a worker, which is why they all get it here.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def on_ranks(
    size: int,
    function: Callable[..., Any],
    *arguments: Any,
    mesh: str | None = None,
    timeout: float = 60.0,
    hosts: int = 1,
) -> list[Any]:
    """What `function(ranks, *arguments)` gives on each rank, in rank order.

    Args:
        function: of a module, importable by name.
        hosts: that the ranks are told they are on, in order, as many on each.

    Raises:
        AssertionError: one of them raised, or ended; with the traceback of each that did.
    """
    outcomes = outcomes_on_ranks(size, function, *arguments, mesh=mesh, timeout=timeout, hosts=hosts)
    failed = [f"rank {rank}: {said}" for rank, (kind, said) in enumerate(outcomes) if kind != "made"]
    if failed:
        pytest.fail("\n".join(failed), pytrace=False)
    return [made for _, made in outcomes]


def outcomes_on_ranks(
    size: int,
    function: Callable[..., Any],
    *arguments: Any,
    mesh: str | None = None,
    timeout: float = 60.0,
    hosts: int = 1,
) -> list[tuple[str, Any]]:
    """Of each rank ("made", result), ("raised", traceback) or ("ended", exit code)."""
    context = forking()
    port = free_port()
    pipes, processes = [], []
    for rank in range(size):
        ours, theirs = context.Pipe(duplex=False)
        given = (theirs, rank, size, rank * hosts // size, port, mesh, timeout, function, arguments)
        process = context.Process(target=_rank, args=given)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    outcomes = dict.fromkeys(pipes, ("ended", None))
    waiting: list[Connection] = list(pipes)
    while waiting:
        ready = wait(waiting, 2 * timeout + 60)
        if not ready:
            break
        for pipe in ready:
            with contextlib.suppress(EOFError):
                outcomes[pipe] = pickle.loads(pipe.recv_bytes())
            waiting.remove(pipe)
    for process in processes:
        process.join(10)
        process.kill()
        process.join()
    return [
        outcome if outcome[0] != "ended" else ("ended", process.exitcode)
        for outcome, process in zip(outcomes.values(), processes, strict=True)
    ]


def _rank(
    pipe: Connection,
    rank: int,
    size: int,
    host: int,
    port: int,
    mesh: str | None,
    timeout: float,
    function: Any,
    arguments: Any,
) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(size))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GROUP_RANK=str(host))
    from lmhead.ranks.join import join

    try:
        ranks = join(mesh, device=torch.device("cpu"), timeout=timeout)
        made = ("made", function(ranks, *arguments))
        ranks.leave()
    except BaseException:  # noqa: BLE001  shown by who started it
        made = ("raised", traceback.format_exc())
    pipe.send_bytes(pickle.dumps(made))
    pipe.close()
    os._exit(0)  # rank 0 has the store: what it would tidy up takes seconds


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port
