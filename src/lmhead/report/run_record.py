"""RunRecord: what a report keeps of a run's log, however long that is; it takes the lines as they come."""

import math
from collections.abc import Callable, Iterable
from typing import Final, final

from lmhead.record.record import Line, fault_in, kind_of, require_version
from lmhead.report.decimation import DecimatedSteps
from lmhead.report.divergence import LossWatch
from lmhead.report.source_curves import SourceCurves

_MOST_EVALUATIONS: Final = 400  # up to twice as many, then every second one is dropped but whole ones and the best
_MOST_SAMPLES: Final = 24  # steps of which samples are kept, likewise
_MOST_FINDINGS: Final = 100
_LEAST_SECONDS: Final = 0.05  # that a speed is measured over: seconds are logged in milliseconds


@final
class RunRecord:
    """One run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.header: Line = {}
        self.steps = DecimatedSteps()
        self.sources = SourceCurves()
        self.watch = LossWatch()
        self.last: Line = {}  # of the steps
        self.evaluations: list[Line] = []
        self.samples: list[Line] = []
        self.findings: list[Line] = []
        self.dropped: dict[str, int] = {"evaluations": 0, "samples": 0}
        self.strange = 0  # lines with a field that is not what it must be
        self.known, self.unknown = 0, 0  # lines that a record has, and others
        self._since: tuple[float, float] | None = None  # tokens and seconds that a speed is measured from

    def take(self, lines: Iterable[Line]) -> None:
        """More lines, in order.

        Raises:
            InputError: the record is of another version.
        """
        for line in lines:
            kind = kind_of(line)
            self.known += kind != "other"
            self.unknown += kind == "other"
            if kind == "header":
                require_version(line, self.name)
            if fault_in(line) is not None:
                self.strange += 1
            elif kind == "header":
                self.header = line
            elif kind == "finding":
                self.findings.append({"step": line.get("step"), **line["finding"]})
                del self.findings[_MOST_FINDINGS:]
            elif kind in ("step", "evaluation", "sample"):
                self._keep(kind, line)

    def _keep(self, kind: str, line: Line) -> None:
        if kind == "step":
            self._keep_step(line)
            return
        self._since = None  # what an evaluation takes is not what a step takes
        if kind == "evaluation":
            self.evaluations.append(line)
            if len(self.evaluations) >= 2 * _MOST_EVALUATIONS:
                self._thin_evaluations()
        else:
            self.samples.append(line)
            if len({each["step"] for each in self.samples}) >= 2 * _MOST_SAMPLES:
                self._thin_samples()

    def _keep_step(self, line: Line) -> None:
        step = line["step"]
        if self.last and step <= self.last["step"]:
            self._go_back_before(step)
        self.last = line
        self.watch.see(step, line.get("loss"), line.get("grad_norm"))
        if "sources" in line:
            self.sources.add(line)
            line = {name: value for name, value in line.items() if name != "sources"}
        speed = None if "tokens_per_second" in line else self._speed(line)
        self.steps.add(line if speed is None else {**line, "tokens_per_second": speed})

    def _go_back_before(self, step: int) -> None:
        """A trainer that was resumed without cutting its log takes steps again."""
        self.steps.go_back_to(step - 1)
        self.sources.go_back_to(step - 1)
        self.evaluations = [each for each in self.evaluations if each["step"] < step]
        self.samples = [each for each in self.samples if each["step"] < step]
        self.watch.go_back_to(step - 1)
        self._since = None

    def _speed(self, line: Line) -> float | None:
        """Scored tokens a second, over no less than a twentieth of one and over no evaluation."""
        tokens, seconds = line.get("tokens"), line.get("seconds")
        if not (isinstance(tokens, int | float) and isinstance(seconds, int | float)):
            return None
        since, now = self._since, (float(tokens), float(seconds))
        if since is None or not 0 <= now[1] - since[1] < math.inf:
            self._since = now
            return None
        if now[1] - since[1] < _LEAST_SECONDS:
            return None
        self._since = now
        return (now[0] - since[0]) / (now[1] - since[1])

    def _thin_evaluations(self) -> None:
        best = min(self.evaluations, key=_nll)
        self._thin("evaluations", lambda index, each: index % 2 == 0 or each is best)

    def _thin_samples(self) -> None:
        steps = sorted({each["step"] for each in self.samples})
        kept = {*steps[::2], steps[-1]}
        self._thin("samples", lambda _, each: each["step"] in kept)

    def _thin(self, name: str, stays: Callable[[int, Line], bool]) -> None:
        lines: list[Line] = getattr(self, name)
        kept = [line for index, line in enumerate(lines) if stays(index, line)]
        self.dropped[name] += len(lines) - len(kept)
        setattr(self, name, kept)


def _nll(line: Line) -> float:
    value = line.get("nll")
    return float(value) if isinstance(value, float) and math.isfinite(value) else math.inf
