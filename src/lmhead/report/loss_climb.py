"""ClimbWatch: where a loss turns and rises, step by step, beyond what its noise explains; and whether it comes back."""

from collections import deque
from dataclasses import replace
from statistics import median
from typing import Final, final

from lmhead.report.loss_event import Event
from lmhead.report.sorted_window import SortedWindow

_WINDOW: Final = 16  # steps whose median is the level
_MEMORY: Final = 64  # steps by which the noise is judged
_NOISE: Final = 5.0  # standard deviations that a level has to rise by
_SHARE: Final = 0.1  # of the lowest level, at the least
_HIGH: Final = 20  # successive steps up there begin a climb
_LOW: Final = 8  # and back at half of it end one
_MOST: Final = 20  # climbs that are kept
_FIRST: Final = 10  # steps that a run begins with: a healthy one stays below them
_ABOVE: Final = 0.3  # of the highest of these
_OF_A_DIFFERENCE: Final = 1.128  # E|a - b| of two normal values, in standard deviations


@final
class ClimbWatch:
    """Sees each loss that is no jump."""

    def __init__(self) -> None:
        self._recent = SortedWindow(_WINDOW)
        self._steps: deque[int] = deque(maxlen=_WINDOW)  # of the recent losses
        self._noise, self._seen = 0.0, 0
        self._least: tuple[float, int] | None = None  # the lowest level, and its step
        self._first: list[float] = []
        self._lowest: tuple[float, int, int] | None = None  # the lowest loss, its step, and how many came before it
        self._run = 0  # successive steps that are beyond a bound
        self._open: Event | None = None
        self._closed: list[Event] = []

    def climbs(self) -> list[Event]:
        """Those that ended, and the one that lasts."""
        if self._open is not None:
            return [*self._closed, self._open]
        return [*self._closed, *self._above_the_first()]

    def go_back_to(self, step: int) -> None:
        """Forget what began after a step."""
        self._closed = [event for event in self._closed if event.step <= step]
        if self._open is not None and self._open.step > step:
            self._open = None

    def see(self, step: int, loss: float) -> None:
        """One more step."""
        self._learn(step, loss)
        if not self._recent.full:
            return
        level, middle = self._recent.median, self._steps[_WINDOW // 2]
        if self._least is None or level < self._least[0]:
            self._least = level, middle
        least = self._least[0]
        rise = max(_NOISE * self._noise, _SHARE * abs(least))
        if self._open is not None:
            self._go_on(self._open, middle, level, level <= least + rise / 2)
            return
        self._run = self._run + 1 if level > least + rise else 0
        if self._run >= _HIGH:
            self._open = Event(kind="climb", step=self._turn(), until=None, before=least, worst=level, count=_HIGH)
            self._run = 0

    def _turn(self) -> int:
        """The step at which it was lowest, near the lowest level."""
        assert self._least is not None
        assert self._lowest is not None
        middle, lowest = self._least[1], self._lowest[1]
        return lowest if abs(lowest - middle) <= _WINDOW else middle

    def _above_the_first(self) -> list[Event]:
        """A loss that stands above all that the run began with: it never fell, or rose before levels could tell."""
        if self._seen < 2 * _FIRST or self._lowest is None:
            return []
        now, highest = median(list(self._recent.last)[-_FIRST:]), max(self._first)
        if now <= highest + _ABOVE * abs(highest):
            return []
        least, step, before = self._lowest
        return [Event(kind="climb", step=step, until=None, before=least, worst=now, count=self._seen - before)]

    def _learn(self, step: int, loss: float) -> None:
        self._seen += 1
        if len(self._first) < _FIRST:
            self._first.append(loss)
        if self._lowest is None or loss < self._lowest[0]:
            self._lowest = loss, step, self._seen
        if self._steps:
            difference = abs(loss - self._recent.last[-1]) / _OF_A_DIFFERENCE
            self._noise += (difference - self._noise) / min(self._seen - 1, _MEMORY)
        self._recent.add(loss)
        self._steps.append(step)

    def _go_on(self, event: Event, step: int, level: float, back: bool) -> None:
        assert event.worst is not None
        self._open = replace(event, worst=max(event.worst, level), count=event.count + 1)
        self._run = self._run + 1 if back else 0
        if self._run >= _LOW:
            self._closed = [*self._closed, replace(self._open, until=step)][-_MOST:]
            self._open, self._run = None, 0
