"""Work of a process: what it and those that it started use of processors and disks, without what watches and draws."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lmhead.ranks.at_work import Work

ON_LINUX = Path("/proc/self/io").exists()
_MUCH = 0.3  # seconds of a processor
BURNS = f"""
import sys, time
while time.process_time() < {_MUCH}:
    pass
print(flush=True)
sys.stdin.read()
"""


def burn():
    began = time.thread_time()
    while time.thread_time() - began < _MUCH:
        pass


def in_a_thread(daemon):
    """Burn in a thread, which is there until it is let go."""
    done, let_go = threading.Event(), threading.Event()

    def run():
        burn()
        done.set()
        let_go.wait()

    threading.Thread(target=run, daemon=daemon).start()
    done.wait()
    return let_go.set


def test_one_that_sleeps_does_not_work():
    work = Work()
    time.sleep(0.2)
    assert not work.goes_on()


def test_one_that_computes_works_until_it_stops():
    work = Work()
    burn()
    assert work.goes_on()
    assert not work.goes_on()


@pytest.mark.skipif(not ON_LINUX, reason="needs /proc")
@pytest.mark.parametrize("daemon", [False, True])
def test_what_computes_in_a_thread_counts_unless_it_is_a_daemon(daemon):
    work = Work()
    let_go = in_a_thread(daemon)
    try:
        assert work.goes_on() is not daemon
    finally:
        let_go()


@pytest.mark.skipif(not ON_LINUX, reason="needs /proc")
@pytest.mark.parametrize("shell", [[], ["sh", "-c", '"$@"; exit $?', "sh"]])
def test_what_a_child_or_its_child_computes_counts(shell):
    work = Work()
    with subprocess.Popen(
        [*shell, sys.executable, "-c", BURNS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert work.goes_on()
        assert not work.goes_on()
        child.communicate()


@pytest.mark.skipif(not ON_LINUX, reason="needs /proc")
def test_what_is_read_counts_however_fast_it_was(tmp_path):
    file = tmp_path / "data"
    file.write_bytes(bytes(2**17))
    work = Work()
    file.read_bytes()
    assert work.goes_on()
