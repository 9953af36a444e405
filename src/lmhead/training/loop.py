"""The loop: batches, exact token means, steps; checkpoints before evaluations; stops that lose nothing.

A run is a function of its config and its data: batches depend on (seed, step) alone, so that a run that was killed
and resumed takes the same steps, bit for bit on a CPU.
"""

import math
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from lmhead.errors import InputError, NonFiniteError
from lmhead.training.checkpoint import Progress, restore_checkpoint, write_checkpoint
from lmhead.training.config import TrainConfig
from lmhead.training.device import autocast
from lmhead.training.evaluate import Evaluation, evaluate
from lmhead.training.optimizer import Optimizers, schedule
from lmhead.training.run_folder import RunFolder
from lmhead.training.setup import Ready
from lmhead.training.training_data import Batch

_CALIBRATION_STEPS = 12  # a timed run fixes its length after these; the first four warm up
_EVALUATION = 0.8  # of a trained token's time: windows overlap by half, and have no backward
_MARGIN = 0.97  # of the time that is left when it does


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One update, as it is logged."""

    step: int
    steps: int | None  # None until a timed run knows
    loss: float  # nats per scored token, of the whole window
    grad_norm: float
    rate: float  # the schedule's factor
    tokens: int  # seen so far
    seconds: float
    tokens_per_second: float


class Reporter(Protocol):
    """Who is told what happens."""

    def step(self, record: StepRecord) -> None: ...
    def evaluation(self, step: int, result: Evaluation) -> None: ...
    def sample(self, step: int, text: str) -> None: ...
    def saved(self, step: int, folder: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended."""

    step: int
    steps: int
    stopped_by: str | None  # a signal's name
    evaluation: Evaluation | None
    seconds: float


class Trainer:
    """Takes a prepared run from where it stands to its end."""

    def __init__(self, run: RunFolder, config: TrainConfig, ready: Ready, reporter: Reporter, started: float) -> None:
        self.run, self.config, self.ready, self.reporter = run, config, ready, reporter
        self.model = ready.model
        self.loss_of: Callable[..., Any] = torch.compile(self.model.loss) if config.compile else self.model.loss
        self.optimizers = Optimizers(self.model, config.optimizer)
        self.progress = Progress(step=0, tokens=0, seconds=0.0, fingerprint=ready.rows.fingerprint())
        self.started = started  # time.perf_counter() of the start of this sitting
        self.before = 0.0  # seconds of earlier sittings
        self._times: list[float] = []

    def resume(self, checkpoint: Path | None) -> list[str]:
        """Go on from a checkpoint; from the start where there is none. What has to be told of that, a sentence each.

        Raises:
            InputError: the checkpoint is of another model or of other data.
        """
        fingerprint, seal = self.progress.fingerprint, self.run.seal()
        known = None if seal is None else seal.fingerprint
        if checkpoint is not None:
            self.progress = restore_checkpoint(checkpoint, self.model, self.optimizers)
            self.before, known = self.progress.seconds, self.progress.fingerprint
        if known not in (None, fingerprint):
            raise InputError(
                f"cannot resume {self.run.path}: the training data are not those that this run was trained on; "
                "bring them back, say where they are now with --data, or start a new run"
            )
        return self.run.go_back_to(self.progress.step)

    def train(self) -> Outcome:
        """Run to the last step, or until a signal asks to stop.

        Raises:
            NonFiniteError: a loss or a gradient is not finite; that step was not taken.
        """
        with _stop_requests() as stop:
            self._make_up()
            while self.config.steps is None or self.progress.step < self.config.steps:
                self._step()
                step, last = self.progress.step, self.progress.step == self.config.steps
                if stop:
                    self.save()
                    return self._outcome(stop[0], None)
                if last or step % self.config.save_every == 0:
                    self.save()
                if not last and step % self.config.sample_every == 0:
                    self._sample()
                if not last and step % self.config.eval_every == 0:
                    self._evaluate(quick=True)
        if not self._has("sample"):
            self._sample()
        return self._outcome(None, self._evaluate(quick=False))

    def _make_up(self) -> None:
        """Sample and evaluate as was due at the checkpoint's step, where the run was stopped before it came to that."""
        step = self.progress.step
        if step == 0 or step == self.config.steps:
            return
        if step % self.config.sample_every == 0 and not self._has("sample"):
            self._sample()
        if step % self.config.eval_every == 0 and not self._has("evaluation"):
            self._evaluate(quick=True)

    def _has(self, kind: str) -> bool:
        """Whether the log has a record of that kind of the present step."""
        return any(kind in record for record in self.run.readable_records() if record["step"] == self.progress.step)

    def save(self) -> None:
        """Publish a checkpoint of the present step."""
        self.progress = replace(self.progress, seconds=self._seconds())
        folder = self.run.publish(
            self.progress.step,
            lambda draft: write_checkpoint(draft, self.model, self.optimizers, self.ready.tokenizer, self.progress),
            keep=self.config.keep,
        )
        self.reporter.saved(self.progress.step, str(folder))

    def _step(self) -> None:
        config, began = self.config, time.perf_counter()
        self.model.train()
        window = [self._batch(self.progress.step * config.accumulate + i) for i in range(config.accumulate)]
        tokens = sum(batch.scored for batch in window)
        weight = sum(batch.total_weight for batch in window)
        divisor = torch.tensor(weight or 1.0)  # of the whole window; a tensor, so that nothing is compiled anew
        total = 0.0
        for batch in window:
            with autocast(self.ready.device, self.ready.dtype):
                loss = self.loss_of(
                    batch.ids,
                    batch.targets,
                    document=batch.document,
                    token_weight=batch.weight,
                    divisor=divisor,
                    label_smoothing=config.label_smoothing,
                    z_loss=config.z_loss,
                )
            loss.backward()
            total += float(loss.detach())
        parameters = list(self.model.parameters())
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        grad_norm = float(norm)
        self._require_finite(total, grad_norm)
        if config.optimizer.clip is not None and grad_norm > config.optimizer.clip:
            torch.nn.utils.clip_grads_with_norm_(parameters, config.optimizer.clip, norm)
        factor = schedule(self.progress.step, config.steps, config.optimizer)
        self.optimizers.step(factor)
        self.progress = replace(self.progress, step=self.progress.step + 1, tokens=self.progress.tokens + tokens)
        self._times.append(time.perf_counter() - began)
        self._record(total, grad_norm, factor, tokens)
        if config.steps is None and len(self._times) >= _CALIBRATION_STEPS:
            self._fix_length()

    def _batch(self, index: int) -> Batch:
        """The index-th micro-batch of the run."""
        return self.ready.rows.take(index * self.config.rows, self.config.rows).to(self.ready.device)

    def _require_finite(self, loss: float, grad_norm: float) -> None:
        if math.isfinite(loss) and math.isfinite(grad_norm):
            return
        first = self.progress.step * self.config.accumulate * self.config.rows
        rows = self.config.accumulate * self.config.rows
        names = self.ready.rows.names(first, rows)
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        kept = self.run.steps()
        raise NonFiniteError(
            f"step {self.progress.step + 1}: the loss is {loss} and the gradient norm {grad_norm}, so the step was not "
            f"taken; its batch is rows {first} to {first + rows - 1} (from {shown}); "
            + (
                f"the last good checkpoint is {self.run.checkpoint(kept[-1])}"
                if kept
                else "no checkpoint was saved yet"
            )
            + ": lower the learning rates or look at those documents"
        )

    def _record(self, loss: float, grad_norm: float, factor: float, tokens: int) -> None:
        recent = self._times[-20:]
        record = StepRecord(
            step=self.progress.step,
            steps=self.config.steps,
            loss=loss,
            grad_norm=grad_norm,
            rate=factor,
            tokens=self.progress.tokens,
            seconds=self._seconds(),
            tokens_per_second=tokens / statistics.median(recent),
        )
        self.run.log(
            {
                "step": record.step,
                "loss": loss,
                "grad_norm": grad_norm,
                "rate": factor,
                "tokens": record.tokens,
                "seconds": round(record.seconds, 3),
            }
        )
        self.reporter.step(record)

    def _fix_length(self) -> None:
        """Turn minutes into steps, once, and write that down, so that a resumed run takes the same steps.

        The checkpoint comes first: no step that was taken without knowing the length is ever taken again knowing it.
        """
        per_step = statistics.median(self._times[4:])
        per_token = per_step / (self.config.rows * self.config.accumulate * self.config.model.max_seq_len)
        left = self.config.minutes * 60 - self._seconds() - _EVALUATION * per_token * self.ready.held_out.tokens
        steps = self.progress.step + max(1, int(_MARGIN * left / per_step))
        self.save()
        self.config = replace(self.config, steps=steps)
        self.run.write_config(self.config)

    def _evaluate(self, *, quick: bool) -> Evaluation:
        result = evaluate(self.ready, quick=quick)
        self.run.log({"step": self.progress.step, "evaluation": "quick" if quick else "full", **result.as_dict()})
        self.reporter.evaluation(self.progress.step, result)
        return result

    def _sample(self) -> None:
        text = self.ready.continue_prompt(seed=self.config.seed)
        self.run.log({"step": self.progress.step, "sample": text})
        self.reporter.sample(self.progress.step, text)

    def _seconds(self) -> float:
        return self.before + time.perf_counter() - self.started

    def _outcome(self, stopped_by: str | None, evaluation: Evaluation | None) -> Outcome:
        return Outcome(
            step=self.progress.step,
            steps=self.config.steps or self.progress.step,
            stopped_by=stopped_by,
            evaluation=evaluation,
            seconds=self._seconds(),
        )


@contextmanager
def _stop_requests() -> Iterator[list[str]]:
    """A list that gets the name of the first SIGINT or SIGTERM; a second one acts as if nobody had asked."""
    asked: list[str] = []
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: object) -> None:
        asked.append(signal.Signals(number).name)
        for each in previous:
            signal.signal(each, signal.SIG_DFL)

    for number in previous:
        signal.signal(number, ask)
    try:
        yield asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
