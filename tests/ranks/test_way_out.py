"""A rank whose run ended well leaves as any process does: what it wrote is out, its threads have had their turn."""

import os
import subprocess
import sys

from tests.ranks.launched import free_port

# The store answers the watch late, and the interpreter is late to end: so the thread's call comes back into it.
SLOW = """
import atexit, os, sys, threading, time
from datetime import timedelta
from lmhead.ranks.one_voice import with_one_voice

class Late:
    def __init__(self, store): self.store = store
    def set(self, *given): self.store.set(*given)
    def check(self, keys): asked.set(); self.store.wait(["never"], timedelta(seconds=1))

class Held:
    def __del__(self, sleep=time.sleep): sleep(3)

asked = threading.Event()

def work(world, watch):
    watch._store = Late(watch._store)
    asked.wait()
    return 0

def thread():
    time.sleep(0.5)
    print("a thread", flush=True)

status = with_one_voice(work, status=lambda error: 1, tell=lambda *given: None, timeout=9.0)
print("after the run")
atexit.register(lambda: print("a handler"))
threading.Thread(target=thread).start()
sys.modules["held"] = Held()
sys.exit(status)
"""

# The store answers no more.
SILENT = """
import threading
from datetime import timedelta
from lmhead.ranks import watch
from lmhead.ranks.one_voice import with_one_voice

watch._GRACE = 0.5
asked = threading.Event()

class Silent:
    def __init__(self, store): self.store = store
    def set(self, *given): self.store.set(*given)
    def check(self, keys): asked.set(); self.store.wait(["never"], timedelta(hours=1))

def work(world, watch):
    watch._store = Silent(watch._store)
    asked.wait()
    print("all is written")
    return 0

with_one_voice(work, status=lambda error: 1, tell=lambda *given: None, timeout=9.0)
"""


def left(script):
    """(exit status, output, errors) of the only rank of a world."""
    world = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TORCHELASTIC")}
    quiet = {"TORCH_CPP_LOG_LEVEL": "FATAL"}
    ended = subprocess.run(
        [sys.executable, "-c", script], env={**plain, **world, **quiet}, capture_output=True, text=True
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_a_rank_whose_watch_still_asks_the_store_ends_in_order():
    assert left(SLOW) == (0, "after the run\na thread\na handler\n", "")


def test_a_store_that_answers_no_more_holds_up_no_rank_whose_run_is_over():
    assert left(SILENT) == (0, "all is written\n", "")
