"""Divergence: where a loss stops being a number, jumps and comes back, jumps and stays, or climbs for good.

A jump is judged by the median and the spread of the steps before it, which stand still while it lasts. So the step at
which it began is the step itself, and not one of a smoothed curve.
"""

import math
from dataclasses import replace
from typing import Final, final

from lmhead.report.loss_climb import ClimbWatch
from lmhead.report.loss_event import Event
from lmhead.report.sorted_window import SortedWindow

_WINDOW: Final = 40  # steps that a loss is judged by
_DEVIATIONS: Final = 7.0  # standard deviations, by the quartiles
_LEAST: Final = 0.15  # of the loss: below that nobody calls it a jump
_CALM: Final = 4  # successive steps at the old level end it
_LASTING: Final = 100  # logged steps after which a jump is no spike any more
_OPEN: Final = 8  # and at the end of a log, where nothing came back yet
_MOST: Final = 50  # spikes that are kept, the highest


@final
class LossWatch:
    """Sees each step once."""

    def __init__(self) -> None:
        self._recent = SortedWindow(_WINDOW)
        self._climbs = ClimbWatch()
        self._open: Event | None = None
        self._calm = 0
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
        found = [*self._not_finite.values(), *self._closed, *lasting, *self._climbs.climbs()]
        return sorted(found, key=lambda event: event.step)

    def go_back_to(self, step: int) -> None:
        """Forget what began after a step."""
        self._closed = [event for event in self._closed if event.step <= step]
        self._not_finite = {name: event for name, event in self._not_finite.items() if event.step <= step}
        self._climbs.go_back_to(step)
        if self._open is not None and self._open.step > step:
            self._open = None

    def _broke(self, step: int, figure: str) -> None:
        event = self._not_finite.get(figure)
        if event is None:
            before = self._recent.median if self._recent.last and figure == "loss" else None
            event = Event(kind="not finite", step=step, until=step, before=before, worst=None, figure=figure, count=0)
        self._not_finite[figure] = replace(event, until=step, count=event.count + 1)

    def _judge(self, step: int, loss: float) -> None:
        if self._open is not None:
            self._go_on(self._open, step, loss)
        elif self._recent.full and loss > self._limit(_DEVIATIONS):
            self._calm = 0
            self._open = Event(kind="spike", step=step, until=step, before=self._recent.median, worst=loss)
        else:
            self._learn(step, loss)

    def _spread(self) -> float:
        ranked = self._recent.by_size
        return (ranked[3 * _WINDOW // 4] - ranked[_WINDOW // 4]) / 1.349

    def _limit(self, deviations: float) -> float:
        return self._recent.median + max(deviations * self._spread(), _LEAST * abs(self._recent.median))

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
        self._climbs.see(step, loss)
        self._recent.add(loss)
