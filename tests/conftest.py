"""Settings of the whole suite.

`pytest --hypothesis-profile nightly tests/ops/test_random_problems.py` draws more than 10,000 problems.
"""

import gc
import multiprocessing
import os
import signal
from collections.abc import Generator, Iterator
from multiprocessing.context import BaseContext

import pytest
import torch
from hypothesis import HealthCheck, settings
from tests.ranks.launched import forking

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several on this machine: one thread each, and each of its processes
    torch.set_num_threads(int(os.environ.setdefault("OMP_NUM_THREADS", "1")))
if not torch.cuda.is_available():  # before anything imports Triton, which reads it then: the kernels run on the CPU
    os.environ["TRITON_INTERPRET"] = "1"
os.environ["TORCH_CPP_LOG_LEVEL"] = "FATAL"  # before torch is imported again: as the command sets it for ranks
os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub: no test waits for a network

_SLOW_IS_FINE = (HealthCheck.too_slow,)  # the machine is shared: a slow draw says nothing
settings.register_profile(
    "suite", max_examples=100, deadline=None, derandomize=True, database=None, suppress_health_check=_SLOW_IS_FINE
)
settings.register_profile("nightly", max_examples=3_500, deadline=None, suppress_health_check=_SLOW_IS_FINE)
settings.load_profile("suite")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Without looking for garbage in what is imported and collected, which stays: a third of the time it takes."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture
def quick_processes(monkeypatch: pytest.MonkeyPatch) -> BaseContext:
    """Workers of labelling start at once: they are forked off a process that has imported torch, not spawned."""
    context = forking()
    monkeypatch.setattr(multiprocessing, "get_context", lambda _method: context)
    return context


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Of torch: for numbers that are compared with those of a process that has one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def heeded_signals() -> Iterator[None]:
    """For tests that send signals to their processes: a suite in the background ignores some, and they inherit that."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)}
    for number in (number for number, handler in before.items() if handler == signal.SIG_IGN):
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What could not be tried on this machine, and why: the pages in a browser."""
    reasons = {
        str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", ()) if len(report.longrepr) == 3
    }
    for reason in sorted(reason for reason in reasons if "no browser" in reason):
        terminalreporter.write_line(reason, yellow=True)
