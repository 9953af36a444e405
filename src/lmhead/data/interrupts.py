"""Ctrl-C at a time that suits: never inside code that takes locks."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Whatever SIGINT does, it does when the block is left.

    KeyboardInterrupt is raised between any two instructions of the main thread. Between those that take a lock and
    those that give it back, it leaves the lock held, and a pool of processes then waits for ever for its own end.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are handled in the main thread alone
        yield
        return
    asked: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: asked.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if asked and callable(before):
            before(*asked[0])
