"""Evaluating: evaluations on held-out data and samples, along a run and at its end, and which step was best so far.

All ranks evaluate, rank 0 samples and writes. A request to stop ends either one: it is made again when the run goes on.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import final

from lmhead.batches.contract import Part
from lmhead.batches.sources import Sources
from lmhead.evaluation.held_out.evaluate import Evaluation, evaluate_held_out, seconds_of_decoding, seconds_per_position
from lmhead.evaluation.held_out.token_classes import TokenClasses
from lmhead.models.causal_lm import CausalLM
from lmhead.training.agreed_stop import AgreedStop, Interrupted
from lmhead.training.best import Best, best_of
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.held_out_watch import HeldOutWatch, worst_held_out
from lmhead.training.length import Seconds
from lmhead.training.reporter import Reporter
from lmhead.training.run.log import TOKENS_FILE
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.setup import Ready
from lmhead.training.weights.average import WeightAverage
from lmhead.training.xz import xz_seconds


@final
class Evaluating:
    """Judges a run's model by held-out data and by samples. All ranks make the same calls.

    Args:
        average: that the weights are replaced by while it judges, as a checkpoint of the step publishes them.
        stop: that ends what is being made, by Interrupted.
        settle: called before anything is made.
    """

    def __init__(
        self,
        run: RunFolder,
        config: TrainConfig,
        ready: Ready,
        average: WeightAverage | None,
        reporter: Reporter,
        sources: Sources,
        *,
        stop: AgreedStop,
        settle: Callable[[], None],
    ) -> None:
        self._run, self._config, self._ready, self._average = run, config, ready, average
        self._reporter, self._stop, self._settle = reporter, stop, settle
        self._ranks = ready.ranks
        self._classes = TokenClasses.of(ready.rows, ready.held_out, sources)
        self.best: Best | None = None  # of the evaluations along the way

    def resume(self) -> None:
        """Know the best step that the log has."""
        self.best = self._ranks.agreed(lambda: best_of(self._run.readable_records(), self._run.steps()))

    def along(self, step: int, *, stopped: bool = False) -> None:
        """Sample and evaluate on a part, where that is due behind a step.

        Args:
            stopped: the run may have been stopped there: only what its log lacks.
        """
        sample = not (stopped and self._has("sample", step)) and step % self._config.sample_every == 0
        evaluation = not (stopped and self._has("evaluation", step)) and step % self._config.eval_every == 0
        if sample or evaluation:
            self._settle()
            with self._published() as plain:
                if sample:
                    self._sample(step, plain)
                if evaluation:
                    self._evaluate(step, self._part, plain)

    def last(self, step: int) -> Evaluation:
        """Sample behind the last step, and evaluate on all that is held out."""
        self._settle()
        with self._published() as plain:
            if self._config.keep_best and not self._has("evaluation", step):
                self._evaluate(step, self._part, plain)  # as the steps before: only so the last can be the best
            if not self._has("sample", step):
                self._sample(step, plain)
            return self._evaluate(step, None, plain)

    def seconds(self, *, step: float, save: float) -> Seconds:
        """What each thing takes beside a step and a checkpoint, tried out or reckoned from a part."""
        ready, ranks, held_out = self._ready, self._ranks, self._ready.held_out
        began = time.perf_counter()
        plain = ready.plain_model()
        ranks.agreed(
            lambda: [
                ready.continue_prompt(prompt, model=plain, seed=self._config.seed, each=ranks.beat)
                for prompt in ready.prompts
            ]
        )
        sample = time.perf_counter() - began
        per_position = seconds_per_position(ready.model, held_out, device=ready.device, dtype=ready.dtype)
        per_position /= ranks.plan.readers
        decoding = ranks.agreed(lambda: seconds_of_decoding(plain, held_out, each=ranks.beat))
        return Seconds(
            step=step,
            save=save,
            sample=sample,
            part=per_position * held_out.read(self._part),
            whole=per_position * held_out.read() + decoding,
            closing=0.0 if held_out.text is None else xz_seconds(held_out.text.encode()),
        )

    @property
    def _part(self) -> Part:
        return Part(tokens=self._config.eval_tokens)

    def _has(self, kind: str, step: int) -> bool:
        """Whether the log has a record of that kind of a step."""
        return self._ranks.agreed(
            lambda: any(kind in record for record in self._run.readable_records() if record["step"] == step)
        )

    @contextmanager
    def _published(self) -> Iterator[CausalLM]:
        """The model as a checkpoint of this step publishes it, and as the `plain_model` that it is then."""
        with nullcontext() if self._average is None else self._average.in_place():
            yield self._ready.plain_model()

    def _evaluate(self, step: int, part: Part | None, plain: CausalLM) -> Evaluation:
        self._ranks.at(f"the evaluation of step {step}")
        watch, ready = HeldOutWatch(self._classes), self._ready
        found = evaluate_held_out(
            ready.model,
            ready.held_out,
            part=part,
            device=ready.device,
            dtype=ready.dtype,
            told=lambda done, total: self._between(step, done, total),
            seen=watch.add,
            ranks=self._ranks,
            writer=plain,
            each=self._stop.go_on,
        )

        def keep() -> Evaluation:
            worst = worst_held_out(watch.worst, ready, model=plain, name=self._run.name, step=step)
            result = replace(found, classes={**watch.classes.means(), **found.classes})
            self._run.log({"step": step, "evaluation": "full" if part is None else "quick", **result.as_dict()})
            self._run.write_text(TOKENS_FILE, worst)
            return result

        result = self._ranks.agreed(keep)
        self._reporter.evaluation(step, result)
        if part is not None and (self.best is None or result.nll < self.best.nll):
            self.best = Best(step=step, nll=result.nll, bits_per_byte=result.bits_per_byte)
        return result

    def _between(self, step: int, done: int, total: int) -> None:
        """Of every rank, between its batches."""
        self._reporter.evaluating(step, done, total)
        self._stop.meet()
        if self._stop:
            raise Interrupted

    def _sample(self, step: int, plain: CausalLM) -> None:
        """Continue every prompt; the log has all of them, the reporter is told the first, which is the run's own."""
        self._ranks.at(f"the samples of step {step}")
        ready, seed = self._ready, self._config.seed

        def keep() -> str:
            made = [
                {
                    "step": step,
                    "sample": ready.continue_prompt(prompt, model=plain, seed=seed, each=self._stop.go_on),
                    "prompt": prompt.text(ready.tokenizer.backend, []),
                }
                for prompt in ready.prompts
            ]
            self._run.log(*made)
            return str(made[0]["sample"])

        self._reporter.sample(step, self._ranks.agreed(keep))
