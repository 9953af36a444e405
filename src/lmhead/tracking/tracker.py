"""Tracker: where the scalars of a run go, beside its own log; and the reporter that brings them there."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from lmhead.errors import InputError
from lmhead.evaluation.held_out.evaluate import Evaluation
from lmhead.shown import shown_line
from lmhead.tracking.scalars import evaluation_scalars, step_scalars
from lmhead.training.reporter import StepRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """What a tracker is told of a run when it begins or goes on."""

    folder: Path
    id: str  # the run's name among all runs that a tracker keeps; the same after every resume
    config: dict[str, Any]
    step: int  # taken before


class Tracker(ABC):
    """Takes scalars, by another library. What it cannot do any more is an InputError."""

    where: str  # how what it keeps is looked at, in a few words

    @abstractmethod
    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Take the scalars of a step; of one step there may be several."""

    @abstractmethod
    def flush(self) -> None:
        """Bring all that was logged to where a kill does not lose it, where the library can."""

    @abstractmethod
    def close(self, *, failed: bool) -> None:
        """End it; `failed` says that the run went wrong."""


@final
class SparedTracker(Tracker):
    """A tracker that stops no training: its first fault is told in a line, and from then on it is left alone."""

    def __init__(self, tracker: Tracker, name: str, log_file: Path) -> None:
        self._tracker: Tracker | None = tracker
        self.where = tracker.where
        self._name, self._log_file = name, log_file

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Take the scalars of a step."""
        self._spared(lambda tracker: tracker.log(step, scalars))

    def flush(self) -> None:
        """Bring them to where a kill does not lose them."""
        self._spared(lambda tracker: tracker.flush())

    def close(self, *, failed: bool) -> None:
        """End it."""
        self._spared(lambda tracker: tracker.close(failed=failed))

    def _spared(self, act: Callable[[Tracker], None]) -> None:
        if self._tracker is None:
            return
        try:
            act(self._tracker)
        except InputError as error:
            self._tracker = None
            told = f"{self._name}: {error}: training goes on without it, the log is {self._log_file}"
            sys.stderr.write(shown_line(told) + "\n")


@final
class TrackingReporter:
    """A Reporter that gives updates and evaluations to a tracker."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def step(self, record: StepRecord) -> None:
        """Log the update."""
        self._tracker.log(record.step, step_scalars(record))

    def evaluating(self, step: int, done: int, total: int) -> None:
        """Nothing: the evaluation is logged when it is done."""

    def evaluation(self, step: int, result: Evaluation) -> None:
        """Log the evaluation."""
        self._tracker.log(step, evaluation_scalars(result))

    def sample(self, step: int, text: str) -> None:
        """Nothing: a text is no scalar, and is in the run's log."""

    def saved(self, step: int, folder: str) -> None:
        """A checkpoint does not outlive the scalars of its steps, where that is in anybody's hands."""
        self._tracker.flush()
