"""One process at a time holds a folder; a dead one holds nothing, however it died."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lmhead.errors import InputError
from lmhead.training.run.lock import LOCK_FILE, RunLock, holder

HOLD = (
    "import sys, pathlib, time\n"
    "from lmhead.training.run.lock import RunLock\n"
    "lock = RunLock(pathlib.Path(sys.argv[1]))\n"
    "lock.acquire()\n"
    "print('held', flush=True)\n"
    "time.sleep(600)\n"
)


def holding(folder: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lock_that_another_process_holds_is_refused_with_its_number_and_kill_9_frees_it(tmp_path: Path) -> None:
    process = holding(tmp_path)
    assert holder(tmp_path) == f"process {process.pid}"
    with pytest.raises(InputError, match=f"is being trained by process {process.pid}: wait for it or stop it"):
        RunLock(tmp_path).acquire()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (tmp_path / LOCK_FILE).exists()
    assert holder(tmp_path) is None
    lock = RunLock(tmp_path)
    lock.acquire()
    assert holder(tmp_path) == f"process {os.getpid()}"
    lock.release()
    assert holder(tmp_path) is None


FORK = (
    "import os, sys, pathlib\n"
    "from lmhead.training.run.lock import RunLock, holder\n"
    "folder = pathlib.Path(sys.argv[1])\n"
    "lock = RunLock(folder)\n"
    "lock.acquire()\n"
    "(reading, writing), (ready, tell) = os.pipe(), os.pipe()\n"
    "if os.fork() == 0:\n"
    "    os.close(writing)\n"
    "    os.write(tell, b'.')\n"
    "    os.read(reading, 1)\n"  # until the parent ends
    "    os._exit(0)\n"
    "os.read(ready, 1)\n"
    "print(holder(folder) is not None)\n"
    "lock.release()\n"
    "print(holder(folder))\n"
)


def test_a_child_that_is_forked_off_does_not_hold_what_its_parent_left(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FORK, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "None"]


def test_looking_takes_nothing_and_needs_no_right_to_write(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    (tmp_path / LOCK_FILE).write_text("damaged \x00")
    (tmp_path / LOCK_FILE).chmod(0o444)
    assert holder(tmp_path) is None


def test_a_holder_that_did_not_sign_is_another_process(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    lock.acquire()
    (tmp_path / LOCK_FILE).write_bytes(b"\xff\xfe")
    assert holder(tmp_path) == "another process"
    (tmp_path / LOCK_FILE).write_text("17 elsewhere\n")
    assert holder(tmp_path) == "process 17 on elsewhere"
    lock.release()


def test_a_folder_without_locks_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_here(number: int, how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none_here)
    with pytest.raises(InputError, match="No locks available: two processes could train into it; train into a folder"):
        RunLock(tmp_path).acquire()


def test_a_lock_file_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).mkdir()
    with pytest.raises(
        InputError, match=r"cannot write .*\.lock: Is a directory: a folder has that name: move it away"
    ):
        RunLock(tmp_path).acquire()


def test_a_folder_that_another_one_took_the_place_of_is_lost(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    lock = RunLock(tmp_path / "run")
    lock.acquire()
    assert not lock.lost()
    (tmp_path / "run").rename(tmp_path / "moved")
    assert not lock.lost()  # it is gone, which is told by whoever writes into it
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK_FILE).touch()
    assert lock.lost()
    lock.release()
