"""The loop: batches, exact token means, steps; checkpoints before evaluations; stops that lose nothing.

A run is a function of its config and its data: batches depend on (seed, step) alone, so that a run that was killed
and resumed takes the same steps, bit for bit on a CPU.
"""

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lmhead.batches.sources import Sources
from lmhead.errors import InputError, NonFiniteError
from lmhead.evaluation.held_out.evaluate import Evaluation
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.options import option
from lmhead.training.agreed_stop import AgreedStop, Interrupted
from lmhead.training.best import Best
from lmhead.training.checkpoint import Progress, restore_checkpoint
from lmhead.training.checkpoints.checkpointing import Checkpointing
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.evaluating import Evaluating
from lmhead.training.header import run_header
from lmhead.training.length import steps_that_fit
from lmhead.training.optimizers.optimizer import Optimizers, decay_begins, schedule
from lmhead.training.reporter import Reporter, StepRecord
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.setup import Ready
from lmhead.training.step.broken_step import is_finite, non_finite, require_gradient
from lmhead.training.step.gradient_norms import clip, joined
from lmhead.training.step.loss_by_source import LossBySource, means
from lmhead.training.step.objective import objective_of
from lmhead.training.step.step_line import step_line
from lmhead.training.step.window import WindowCounts, WindowLoss
from lmhead.training.stopping import Stopped, stop_requests
from lmhead.training.weights.average import WeightAverage

_CALIBRATION_STEPS = 12  # a timed run fixes its length after these; the first four warm up


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended."""

    step: int
    steps: int
    saved: int | None  # the newest checkpoint's step
    stopped_by: str | None  # a signal's name
    evaluation: Evaluation | None
    best: Best | None  # where the best checkpoint is kept
    seconds: float


class Trainer:
    """Takes a prepared run from where it stands to its end."""

    def __init__(self, run: RunFolder, config: TrainConfig, ready: Ready, reporter: Reporter, started: float) -> None:
        self.run, self.config, self.ready, self.reporter = run, config, ready, reporter
        self.model, self.ranks = ready.model, ready.ranks
        self.objective = objective_of(
            self.model, config, device=ready.device, dtype=ready.dtype, sharded=ready.blueprint is not None
        )
        self.optimizers = Optimizers(self.model, config.optimizer)
        self.average = WeightAverage(self.model) if config.average else None
        self.progress = Progress(step=0, tokens=0, seconds=0.0, fingerprint=ready.fingerprint())
        self.started = started  # time.perf_counter() of the start of this sitting
        self.before = 0.0  # seconds of earlier sittings
        self._stop = AgreedStop(ready.ranks)
        self.sources = Sources.of(ready.rows, ready.held_out)
        self._times: list[float] = []
        self.checkpoints = Checkpointing(run, ready, self.optimizers, self.average, reporter, keep=config.keep)
        self.evaluating = Evaluating(
            run, config, ready, self.average, reporter, self.sources, stop=self._stop, settle=self.checkpoints.settle
        )

    def resume(self, checkpoint: Path | None) -> list[str]:
        """Go on from a checkpoint; from the start where there is none. What has to be told of that, a sentence each.

        Raises:
            InputError: the checkpoint is of another model or of other data.
        """
        fingerprint = self.progress.fingerprint
        seal = self.ranks.agreed(self.run.seal)
        known = None if seal is None else seal.fingerprint
        if checkpoint is not None:
            self.progress = restore_checkpoint(
                checkpoint, self.model, self.optimizers, self.average, ranks=self.ranks, seed=self.config.seed
            )
            self.before, known = self.progress.seconds, self.progress.fingerprint
            self.checkpoints.saved = self.progress.step
        if known not in (None, fingerprint):
            raise InputError(
                f"cannot resume {self.run.path}: the data are not those that this run was trained on, held-out ones "
                f"included; bring them back, say where they are now with {option('data.paths')}, or start a new run"
            )
        told = self.ranks.agreed(lambda: self.run.go_back_to(self.progress.step))
        self.evaluating.resume()
        return told

    def train(self) -> Outcome:
        """Run to the last step, or until a signal asks to stop; what was saved by then is in the outcome.

        Raises:
            NonFiniteError: a loss or a gradient is not finite; that step was not taken.
        """
        with stop_requests() as self._stop.request:
            try:
                evaluation = self._train()
                if evaluation is not None:
                    self.ranks.over()
                return self._outcome(self._stop.signal if evaluation is None else None, evaluation)
            except Stopped as stopped:  # the second request
                if self.ranks.size > 1:  # the others may wait for this one
                    raise
                return self._outcome(stopped.name, None)

    def _train(self) -> Evaluation | None:
        """The last evaluation; None where a stop was asked for, and all is saved."""
        try:
            self._head()
            self._make_up()
            while (self.config.steps is None or self.progress.step < self.config.steps) and not self._stop:
                self._step()
                step, last = self.progress.step, self.progress.step == self.config.steps
                to_judge = self.config.keep_best and step % self.config.eval_every == 0
                if last or to_judge or step % self.config.save_every == 0:
                    self.save()
                if not last and not self._stop:
                    self.evaluating.along(step)
            if not self._stop:
                return self.evaluating.last(self.progress.step)
        except Interrupted:
            self._stop.meet()
        if self.progress.step:
            self.save()
        self.checkpoints.settle()
        return None

    def _head(self) -> None:
        """Tell the log what the run is, where it does not say so yet."""
        header = run_header(self.config, self.ready, fingerprint=self.progress.fingerprint)
        self.ranks.agreed(lambda: self.run.head(header, step=self.progress.step))

    def _make_up(self) -> None:
        """Sample and evaluate as was due at the checkpoint's step, where the run was stopped before it came to that."""
        if 0 < self.progress.step != self.config.steps:
            self.evaluating.along(self.progress.step, stopped=True)

    @property
    def best(self) -> Best | None:
        """Of the evaluations so far, where the best checkpoint is kept."""
        return self.evaluating.best if self.config.keep_best else None

    def save(self) -> None:
        """Save the present step; of several ranks beside what follows, until `checkpoints.settle`."""
        self.progress = replace(self.progress, seconds=self._seconds())
        self.checkpoints.begin(self.progress, protect=frozenset() if self.best is None else frozenset({self.best.step}))

    def _step(self) -> None:
        config, began = self.config, time.perf_counter()
        self.ranks.at(f"step {self.progress.step + 1}")
        self.model.train()
        window = [self._batch(self.progress.step * config.accumulate + i) for i in range(config.accumulate)]
        counts = self._counted(window)
        share = self.progress.step / (config.steps or math.inf)
        made = self.objective.backward(window, counts, share=share, sums=self._source_sums())
        parts = self.objective.parts()
        made, norms = joined(made, parts, self.ranks)
        grad_norms = list(map(float, norms))
        if not is_finite(made.differentiated, grad_norms):
            raise self._broken(made, grad_norms, window)
        if self.progress.step == 0:
            require_gradient(made.weight, grad_norms)
        for parameters, norm, size in zip(parts, norms, grad_norms, strict=True):
            if config.optimizer.clip and size > config.optimizer.clip:
                clip(parameters, config.optimizer.clip, norm)
        factor = schedule(self.progress.step, config.steps, config.optimizer)
        self.optimizers.step(factor)
        self._add_to_average()
        self.progress = replace(self.progress, step=self.progress.step + 1, tokens=self.progress.tokens + made.scored)
        self._times.append(time.perf_counter() - began)
        self._record(made, grad_norms, factor)
        if config.steps is None and len(self._times) >= _CALIBRATION_STEPS:
            self._fix_length()

    def _counted(self, window: Sequence[PackedBatch]) -> WindowCounts:
        """What the window of all ranks is divided by; one collective, in which each says more: whether it is to stop,
        and whether it has written its part of a checkpoint.
        """
        own = WindowCounts.of(window, mtp_depth=self.objective.mtp_depth)
        own_read = own.read if self.ranks.rows(0, self.config.rows)[1] else 0  # else the rows are another rank's
        flags = (float(self.checkpoints.written), self._stop.flag)
        *sums, written, asked = self.ranks.summed([*own.weights, own.scored, own_read, *flags])
        self._stop.heard(asked)
        if written == self.ranks.size:
            self.checkpoints.publish()
        *weights, scored, read = (each / self.ranks.plan.cp for each in sums)  # those along cp have the same rows
        return WindowCounts(
            weights=tuple(weights),
            scored=round(scored),
            read=round(read),
            ranks=self.ranks.size,
            cp=self.ranks.plan.cp,
        )

    def _source_sums(self) -> LossBySource | None:
        """Of a window, where there are several sources to tell apart."""
        count = len(self.sources.names)
        return LossBySource(self.sources.train, count) if count > 1 else None

    def _add_to_average(self) -> None:
        if self.average is None or self.config.steps is None:
            return
        begin = decay_begins(self.config.steps, self.config.optimizer)
        if self.progress.step >= begin:
            self.average.add(since=begin)
        else:
            self.average.drop()

    def _batch(self, index: int) -> PackedBatch:
        """This rank's rows of the index-th micro-batch of the run; where it has none, one that scores nothing."""
        first, count = self.ranks.rows(index * self.config.rows, self.config.rows)
        if count:
            return self.ready.rows.take(first, count)
        return self.ready.rows.take(index * self.config.rows, 1).unscored()

    def _broken(self, made: WindowLoss, grad_norms: Sequence[float], window: Sequence[PackedBatch]) -> NonFiniteError:
        self.checkpoints.settle()
        step, saved = self.progress.step, self.checkpoints.saved
        good = None if saved is None else self.run.checkpoint(saved)
        return non_finite(made.differentiated, grad_norms, window, self.ready, step=step, saved=good)

    def _record(self, made: WindowLoss, grad_norms: Sequence[float], factor: float) -> None:
        if not self.ranks.first:
            return
        recent = statistics.median(self._times[-20:])
        record = StepRecord(
            step=self.progress.step,
            steps=self.config.steps,
            loss=made.loss,
            grad_norm=grad_norms[0],
            rate=factor,
            depths=made.depths,
            tokens=self.progress.tokens,
            read=made.read * self.progress.step,
            seconds=self._seconds(),
            tokens_per_second=made.read / recent,
            trained_per_second=made.scored / recent,
            sources={} if made.by_source is None else means(made.by_source, self.sources.names),
        )
        self.run.log(step_line(record, made, grad_norms))
        self.reporter.step(record)

    def _fix_length(self) -> None:
        """Turn minutes into steps, once, and write that down, so that a resumed run takes the same steps.

        The checkpoint comes first: no step that was taken without knowing the length is ever taken again knowing it.
        """
        began = time.perf_counter()
        self.save()
        self.checkpoints.settle()
        save = time.perf_counter() - began
        if self._stop:  # the length is not fixed: a resumed run does it
            return
        each = self.evaluating.seconds(step=statistics.median(self._times[4:]), save=save)
        taken = self.progress.step
        steps = self.ranks.agreed(
            lambda: taken + steps_that_fit(each, self.config.minutes * 60 - self._seconds(), self.config)
        )
        self.config = replace(self.config, steps=steps)
        self.ranks.agreed(lambda: self.run.write_config(self.config))
        self._head()

    def _seconds(self) -> float:
        return self.before + time.perf_counter() - self.started

    def _outcome(self, stopped_by: str | None, evaluation: Evaluation | None) -> Outcome:
        return Outcome(
            step=self.progress.step,
            steps=self.config.steps or self.progress.step,
            saved=self.checkpoints.saved,
            stopped_by=stopped_by,
            evaluation=evaluation,
            best=self.best,
            seconds=self._seconds(),
        )
