"""Signals that ask to stop, at a time that suits: never inside code that takes locks."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lmhead.stop_signals import STOP_SIGNALS


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Whatever a handler makes of a request to stop, it does when the block is left.

    KeyboardInterrupt is raised between any two instructions of the main thread. Between those that take a lock and
    those that give it back, it leaves the lock held, and a pool of processes then waits for ever for its own end.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are handled in the main thread alone
        yield
        return
    asked: list[tuple[signal.Signals, FrameType | None]] = []
    before = {each: handler for each in STOP_SIGNALS if callable(handler := signal.getsignal(each))}
    for each in before:
        signal.signal(each, lambda number, frame: asked.append((signal.Signals(number), frame)))
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        if asked:
            number, frame = asked[0]
            before[number](number, frame)
