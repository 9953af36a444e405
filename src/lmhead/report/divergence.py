"""Divergence: where a loss stops being a number, jumps and comes back, jumps and stays, or climbs for good.

A jump is judged by the median and the spread of the steps before it, which stand still while it lasts. So the step at
which it began is the step itself, and not one of a smoothed curve.
"""

import math
from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass, replace
from statistics import median
from typing import Final, Literal, final

_WINDOW: Final = 40  # steps that a loss is judged by
_DEVIATIONS: Final = 7.0  # standard deviations, by the quartiles
_LEAST: Final = 0.15  # of the loss: below that nobody calls it a jump
_CALM: Final = 4  # successive steps at the old level end it
_LASTING: Final = 100  # logged steps after which a jump is no spike any more
_OPEN: Final = 8  # and at the end of a log, where nothing came back yet
_FIRST: Final = 10  # steps that a run begins with: a healthy one stays below them
_MOST: Final = 50  # spikes that are kept, the highest

Kind = Literal["not finite", "spike", "jump", "climb"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that a loss should not do."""

    kind: Kind
    step: int  # where it began
    until: int | None  # the last step of it; None: it lasts
    before: float | None  # nats: the level that it came from
    worst: float | None  # nats: the highest of it
    figure: str = "loss"
    count: int = 1  # logged steps


@final
class LossWatch:
    """Sees each step once."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=_WINDOW)
        self._sorted: list[float] = []
        self._least: tuple[float, int, int] = (math.inf, 0, 0)  # of the median; its step, and how many came before
        self._first: list[float] = []
        self._lowest: tuple[float, int, int] = (math.inf, 0, 0)  # of all; its step, and how many came before
        self._open: Event | None = None
        self._calm = self._seen = 0
        self._not_finite: dict[str, Event] = {}
        self._closed: list[Event] = []

    def see(self, step: int, loss: object, grad_norm: object = None) -> None:
        """One more step."""
        for figure, value in (("loss", loss), ("gradient norm", grad_norm)):
            if isinstance(value, float) and not math.isfinite(value):
                self._broke(step, figure)
        if isinstance(loss, float | int) and not isinstance(loss, bool) and math.isfinite(loss):
            self._judge(step, float(loss))

    def events(self, *, broken: bool = False) -> list[Event]:
        """What was seen by now, in the order of the steps.

        Args:
            broken: the run ended with a loss that is no number: what lasted until then led there.
        """
        lasting = [] if self._open is None else [self._lasting(self._open, broken or bool(self._not_finite))]
        found = [*self._not_finite.values(), *self._closed, *lasting, *self._climb()]
        return sorted(found, key=lambda event: event.step)

    def go_back_to(self, step: int) -> None:
        """Forget what began after a step."""
        self._closed = [event for event in self._closed if event.step <= step]
        self._not_finite = {name: event for name, event in self._not_finite.items() if event.step <= step}
        if self._open is not None and self._open.step > step:
            self._open = None

    def _broke(self, step: int, figure: str) -> None:
        event = self._not_finite.get(figure)
        if event is None:
            before = self._median() if self._sorted and figure == "loss" else None
            event = Event(kind="not finite", step=step, until=step, before=before, worst=None, figure=figure, count=0)
        self._not_finite[figure] = replace(event, until=step, count=event.count + 1)

    def _judge(self, step: int, loss: float) -> None:
        if self._open is not None:
            self._go_on(self._open, step, loss)
        elif len(self._recent) == _WINDOW and loss > self._limit(_DEVIATIONS):
            self._calm = 0
            self._open = Event(kind="spike", step=step, until=step, before=self._median(), worst=loss)
        else:
            self._learn(step, loss)

    def _median(self) -> float:
        return self._sorted[len(self._sorted) // 2]

    def _spread(self) -> float:
        return (self._sorted[3 * _WINDOW // 4] - self._sorted[_WINDOW // 4]) / 1.349

    def _limit(self, deviations: float) -> float:
        return self._median() + max(deviations * self._spread(), _LEAST * abs(self._median()))

    def _go_on(self, event: Event, step: int, loss: float) -> None:
        assert event.worst is not None
        event = replace(event, worst=max(event.worst, loss))
        if loss <= self._limit(_DEVIATIONS / 2):
            self._calm += 1
        else:
            self._calm, event = 0, replace(event, until=step, count=event.count + 1)
        self._open = event
        if self._calm >= _CALM:
            self._closed.append(replace(event, kind="jump" if event.count >= _LASTING else "spike"))
            self._open = None
            if len(self._closed) > _MOST:
                self._closed.remove(min(self._closed, key=lambda each: each.worst or 0.0))

    def _lasting(self, event: Event, broken: bool) -> Event:
        """What had not come back at the end."""
        if event.count < _OPEN and not broken:
            return event
        return replace(event, kind="jump", until=None)

    def _learn(self, step: int, loss: float) -> None:
        self._seen += 1
        if len(self._first) < _FIRST:
            self._first.append(loss)
        if loss < self._lowest[0]:
            self._lowest = (loss, step, self._seen)
        if len(self._recent) == _WINDOW:
            del self._sorted[bisect_left(self._sorted, self._recent[0])]
        self._recent.append(loss)
        insort(self._sorted, loss)
        if len(self._recent) == _WINDOW and self._median() < self._least[0]:
            self._least = (self._median(), step, self._seen)

    def _climb(self) -> list[Event]:
        """A loss that has risen, step by step, from the lowest that its median was."""
        least, step, seen = self._least
        if len(self._recent) < _WINDOW or self._open is not None or self._seen - seen < _LASTING:
            return self._above_the_first()
        now = self._median()
        if now <= least + max(2 * self._spread(), _LEAST * abs(least)):
            return self._above_the_first()
        return [Event(kind="climb", step=step, until=None, before=least, worst=now, count=self._seen - seen)]

    def _above_the_first(self) -> list[Event]:
        """A loss that stands above all that the run began with: it never fell, or rose before windows could tell."""
        if self._open is not None or self._seen < 2 * _FIRST:
            return []
        now, highest = median(list(self._recent)[-_FIRST:]), max(self._first)
        if now <= highest + 2 * _LEAST * abs(highest):
            return []
        least, step, seen = self._lowest
        return [Event(kind="climb", step=step, until=None, before=least, worst=now, count=self._seen - seen)]
