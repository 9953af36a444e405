"""The reporter of a run: who is told of steps, evaluations, samples and checkpoints, as they happen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, final

from lmhead.evaluation.held_out.evaluate import Evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One update, as it is logged."""

    step: int
    steps: int | None  # None until a timed run knows
    loss: float  # nats per scored token, of the whole window
    grad_norm: float
    rate: float  # the schedule's factor
    tokens: int  # scored so far
    read: int  # so far: the scored ones, and those that they follow on
    seconds: float
    tokens_per_second: float  # read
    trained_per_second: float  # scored
    depths: tuple[float | None, ...] = ()  # losses of the tokens that are 1, 2, .. further ahead, nats each
    sources: Mapping[str, tuple[float, int]] = field(default_factory=dict)  # by source: plain nll a token, tokens


class Reporter(Protocol):
    """Who is told what happens."""

    def step(self, record: StepRecord) -> None: ...
    def evaluating(self, step: int, done: int, total: int) -> None: ...  # tokens read
    def evaluation(self, step: int, result: Evaluation) -> None: ...
    def sample(self, step: int, text: str) -> None: ...
    def saved(self, step: int, folder: str) -> None: ...


@final
class Reporters:
    """Several reporters as one, told in their order."""

    def __init__(self, *reporters: Reporter) -> None:
        self._all = list(reporters)

    def add(self, reporter: Reporter) -> None:
        """From now on this one is told too."""
        self._all.append(reporter)

    def step(self, record: StepRecord) -> None:
        """Tell of an update."""
        for each in self._all:
            each.step(record)

    def evaluating(self, step: int, done: int, total: int) -> None:
        """Tell how far an evaluation is."""
        for each in self._all:
            each.evaluating(step, done, total)

    def evaluation(self, step: int, result: Evaluation) -> None:
        """Tell what an evaluation found."""
        for each in self._all:
            each.evaluation(step, result)

    def sample(self, step: int, text: str) -> None:
        """Tell what the model writes."""
        for each in self._all:
            each.sample(step, text)

    def saved(self, step: int, folder: str) -> None:
        """Tell where a checkpoint lies."""
        for each in self._all:
            each.saved(step, folder)
