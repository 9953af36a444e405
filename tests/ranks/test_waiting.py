"""A rank that waits for the others hears signals; one whose world is no world says so, whichever rank it is."""

import os
import signal
import subprocess
import sys
from datetime import timedelta

import pytest
import torch.distributed as dist
from tests.ranks.launched import free_port
from torch._C._distributed_c10d import TCPStore

from lmhead.ranks.world import World

TIMEOUT = 60.0
WORLD = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}


class HeardError(Exception):
    pass


@pytest.fixture
def alarmed():
    """A signal half a second from now, whose handler raises."""

    def ring(*_):
        raise HeardError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("store_is_there", [False, True])
def test_a_signal_ends_the_wait_for_the_others_and_not_the_time_out(monkeypatch, alarmed, store_is_there):
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=TIMEOUT))
    port = store.port if store_is_there else free_port()
    for name, value in {**WORLD, "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(HeardError) as heard:
        World.entered(TIMEOUT)
    assert not [
        error for error in chain(heard.value) if isinstance(error, dist.DistError)
    ]  # what torch waits in ends so


def chain(error):
    """The error, and those in whose handling it was raised."""
    while error is not None:
        yield error
        error = error.__context__


LEFT = {"RANK": "1", "WORLD_SIZE": "2"}
NO_ADDRESS = (
    "MASTER_ADDR must be set for a run of several ranks, got none: "
    "let torchrun start the ranks, or set it; for one process unset RANK, which is 1 here"
)
NO_PORT = "MASTER_PORT must be in [1, 65535], got 0: let torchrun choose it, which its option standalone does"


@pytest.mark.parametrize(
    ("left", "line"), [(LEFT, NO_ADDRESS), ({**LEFT, "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}, NO_PORT)]
)
def test_an_environment_that_another_launcher_left_is_told_by_the_only_process_that_there_is(tmp_path, left, line):
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MASTER_", "TORCHELASTIC"))
    }
    words = [sys.executable, "-m", "lmhead", "train", "--out", str(tmp_path / "run")]
    ended = subprocess.run(words, env={**environment, **left}, capture_output=True, text=True)
    assert ended.stderr == f"lmhead train: error: {line}\n"
    assert (ended.returncode, ended.stdout) == (2, "")
