"""Work of a process: whether it, or a process that it started, uses a processor or a disk. One that hangs uses neither.

It is what a rank shows that others wait for, and that cannot say how far it is: a library of somebody else's works.
"""

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Final, NamedTuple, final

_PROCESSES: Final = Path("/proc")  # of Linux; elsewhere what is used is known of this process alone
_MUCH: Final = (0.05, 2**16)  # seconds of a processor, bytes: more than the threads use that idle ranks have
_TICKS: Final = os.sysconf("SC_CLK_TCK")  # a second


class _Used(NamedTuple):
    seconds: float  # of processors
    bytes: int  # read and written

    def is_much_more_than(self, before: "_Used") -> bool:
        return any(now - then >= much for now, then, much in zip(self, before, _MUCH, strict=True))


@final
class Work:
    """That of this process and of those that it started, without that of daemon threads: they watch, and draw bars."""

    def __init__(self) -> None:
        self._own, self._started = _own(), _started()

    def goes_on(self) -> bool:
        """Whether there was any since the last call. Called about once a second.

        A call that keeps the interpreter's lock keeps this one waiting, too.
        """
        before, self._own = self._own, _own()
        if self._own.is_much_more_than(before):
            return True
        last, self._started = self._started, _started()  # read last, for there may be thousands of processes
        return self._started.is_much_more_than(last)


def _own() -> _Used:
    times = os.times()
    used = [_Used(time.process_time() + times.children_user + times.children_system, _bytes(_PROCESSES / "self"))]
    for thread in threading.enumerate():
        if thread.daemon and thread.native_id is not None:
            place = _PROCESSES / f"self/task/{thread.native_id}"
            used.append(_Used(-sum(_ticks(place)[1:3]) / _TICKS, -_bytes(place)))
    return _sum(used)


def _started() -> _Used:
    """That of the processes that descend from this one."""
    found = {int(place.name): (place, _ticks(place)) for place in _PROCESSES.glob("[0-9]*")}
    children: dict[int, list[int]] = {}
    for process, (_, (parent, *_)) in found.items():
        children.setdefault(parent, []).append(process)
    waiting, used = list(children.get(os.getpid(), [])), []
    while waiting:
        process = waiting.pop()
        waiting += children.get(process, [])
        place, (_, *ticks) = found[process]
        used.append(_Used(sum(ticks) / _TICKS, _bytes(place)))
    return _sum(used)


def _sum(used: list[_Used]) -> _Used:
    return _Used(sum(each.seconds for each in used), sum(each.bytes for each in used))


def _ticks(place: Path) -> tuple[int, int, int, int, int]:
    """(the parent, of a process its own in user and system mode, those of the children that it has seen end)."""
    with contextlib.suppress(OSError):  # it has ended
        parts = (place / "stat").read_text().rpartition(")")[2].split()
        return int(parts[1]), int(parts[11]), int(parts[12]), int(parts[13]), int(parts[14])
    return 0, 0, 0, 0, 0


def _bytes(place: Path) -> int:
    """Read and written by calls, and fetched from disks for what is mapped; 0 where the system does not say."""
    with contextlib.suppress(OSError):
        counts = dict(line.split(": ") for line in (place / "io").read_text().splitlines())
        return sum(int(counts[name]) for name in ("rchar", "wchar", "read_bytes"))
    return 0
