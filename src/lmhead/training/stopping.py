"""Signals that ask a run to stop: at once while nothing can be lost; in training, when what is being done is whole.

A signal that is ignored stays so: SIGHUP under nohup, SIGINT and SIGQUIT of a job in a script's background.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, final

from lmhead.stop_signals import STOP_SIGNALS

# A terminal that closes sends SIGHUP and so does its shell, `timeout` sends SIGTERM to a process and to its group:
# what comes within so many seconds of a request is the same request.
_ONE_REQUEST: Final = 1.0


@final
class Stopped(KeyboardInterrupt):
    """A signal ended what was being done, at once."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def __reduce__(self) -> tuple[type["Stopped"], tuple[int]]:
        return Stopped, (self.number,)  # of several ranks all are told of the one that rank 0 is stopped by

    @property
    def name(self) -> str:
        """SIGTERM."""
        return signal.Signals(self.number).name


@final
class StopRequest:
    """True from the first signal on."""

    def __init__(self, *, at_once: bool = False, now: Callable[[], float] = time.monotonic) -> None:
        self.name: str | None = None  # of the first signal
        self._at_once, self._now, self._since = at_once, now, 0.0

    def __bool__(self) -> bool:
        return self.name is not None

    def ask(self, number: int, frame: FrameType | None = None) -> None:
        """Note a signal.

        Raises:
            Stopped: it is to act at once, or it is the second request.
        """
        if self.name is None:
            self.name, self._since = signal.Signals(number).name, self._now()
            if self._at_once:
                raise Stopped(number)
        elif self._now() - self._since > _ONE_REQUEST:
            raise Stopped(number)


@contextmanager
def stops_at_once() -> Iterator[None]:
    """A request to stop raises Stopped, wherever the main thread is."""
    with _handled_by(StopRequest(at_once=True).ask):
        yield


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """A request that is to be looked at where it suits; a second one raises Stopped."""
    request = StopRequest()
    with _handled_by(request.ask):
        yield request


def exit_status(name: str) -> int:
    """What a shell reports of a process that the signal ended."""
    return 128 + signal.Signals[name].value


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only that one may set handlers
        yield
        return
    before = {each: signal.getsignal(each) for each in STOP_SIGNALS}
    taken = [each for each in STOP_SIGNALS if before[each] not in (signal.SIG_IGN, None)]
    for each in taken:
        signal.signal(each, handler)
    try:
        yield
    finally:
        for each in taken:
            signal.signal(each, before[each])
