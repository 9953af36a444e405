"""`lmhead train --resume RUN`: go on as the run was begun; or say that it is finished, and how it is made longer."""

import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lmhead.cli.flags.train_config import train_config
from lmhead.errors import InputError, require
from lmhead.ranks.ranks import ALONE, Ranks
from lmhead.shown import shell_word, shown_line
from lmhead.training.config.differences import differences
from lmhead.training.config.fine_tuning import PretrainedModel
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.run.log import Record
from lmhead.training.run.progress import best_figure, full_evaluation
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.run.tokenizer_copies import require_same_tokenizer

if TYPE_CHECKING:
    from lmhead.ranks.world import World

_LOOKED_AT: Final = 100_000  # steps of a schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """Where a run goes on from."""

    checkpoint: Path | None  # None: none was completed, from the start
    before: TrainConfig  # as it was until now

    def lines(self, step: int, config: TrainConfig) -> Iterator[str]:
        """What is different from now on."""
        if config.device != self.before.device:
            yield (
                f"device: {self.before.device} -> {config.device}; from here on the numbers are those of the new one, "
                "bit for bit the same only on the same kind of processor"
            )
        if config.steps is not None and config.steps != self.before.steps:
            yield _new_schedule(step, config.steps, self.before.steps, config)


def resume(
    path: Path,
    flags: Mapping[str, Any],
    train: Callable[[RunFolder, TrainConfig, Resumed], int],
    ranks: "Ranks | World" = ALONE,
) -> int:
    """Check the run, its seal and the flags; then train, unless nothing is left to do.

    Args:
        flags: dotted field -> value, of those that were given.
        ranks: of which the first alone looks at the folder.

    Raises:
        InputError: another process trains it, something in it is damaged or was changed, or a flag would change what
            decides its numbers.
    """
    with RunFolder(path) as run:
        going_on = ranks.agreed(lambda: _going_on(run, flags))
        if going_on is None:
            return 0
        config, resumed = going_on
        from lmhead.cli.plans.plan import require_memory

        require_memory(config, ranks=ranks.size, on_host=ranks.on_host)
        return train(run, dataclasses.replace(config, out=str(path)), resumed)


def _going_on(run: RunFolder, flags: Mapping[str, Any]) -> tuple[TrainConfig, Resumed] | None:
    """How the run, whose lock is taken, goes on; None where nothing is left to do, which is told."""
    RunFolder.open(run.path)
    run.lock.acquire()
    checkpoint = _checkpoint(run, flags.get("step"))
    if checkpoint is not None:
        require_same_tokenizer(run.path, checkpoint)
    taken = 0 if checkpoint is None else int(checkpoint.name.removeprefix("step-"))
    before = run.sealed_config(checkpoint)
    config = _config(run, before, flags)
    _require_init(run, config, checkpoint)
    if config.steps is not None:
        remedy = f"give a number from {taken} on, or go back to an earlier checkpoint with --step"
        require(config.steps >= taken, "--steps", f"be at least the {taken:,} that were taken", config.steps, remedy)
    if taken == config.steps and (evaluation := full_evaluation(run.readable_records(), taken)) is not None:
        for line in _finished(run, taken, evaluation):
            sys.stdout.write(shown_line(line) + "\n")
        return None
    return config, Resumed(checkpoint=checkpoint, before=before)


def _checkpoint(run: RunFolder, step: int | None) -> Path | None:
    if step is None and not run.steps():
        return None
    return run.checkpoint_for_use(step, use="resume")


def _config(run: RunFolder, before: TrainConfig, flags: Mapping[str, Any]) -> TrainConfig:
    """The run's config with what the flags may change."""
    from lmhead.training.weights.start import found_from_anywhere

    out = flags.get("out")
    if out is not None and os.path.realpath(out) != os.path.realpath(run.path):
        raise InputError(f"cannot resume {run.path} into another folder: leave --out {out} out")
    config = train_config(flags, None if "config" in flags else before).resolved()
    if isinstance(config.model, PretrainedModel) and isinstance(before.model, PretrainedModel):
        model = dataclasses.replace(before.model, max_seq_len=config.model.max_seq_len)
        config = dataclasses.replace(config, model=model)  # what the model is was found out when it was there
    if config.init is not None:
        config = dataclasses.replace(config, init=found_from_anywhere(config.init))
    if config.steps is None:
        config = dataclasses.replace(config, steps=before.steps)  # the length that a timed run settled on
    differing = [each for each in differences(before, config) if not each.startswith("steps: ")]
    if differing:
        raise InputError(
            f"cannot resume {run.path} with another config ({'; '.join(differing)}): "
            "leave those flags out, or start a new run with --out"
        )
    if config.minutes != before.minutes and before.steps is not None:
        raise InputError(
            f"--minutes must be left out where the length is fixed, {before.steps:,} steps here, got "
            f"{config.minutes:g}: --steps makes a run longer"
        )
    return config


def _require_init(run: RunFolder, config: TrainConfig, checkpoint: Path | None) -> None:
    """Refuse another start, but the same weights in another place where adapters were trained beside them."""
    seal = run.seal()
    if seal is None or config.init == seal.config.init:
        return
    rule = f"be what it was, {seal.config.init},"
    if checkpoint is None:
        rule += " where no checkpoint is there yet"
    elif config.needs_init:
        return
    remedy = "leave it out: the checkpoint has all weights" if checkpoint is not None else "or start a new run"
    require(False, "--init", rule, config.init, remedy)


def _finished(run: RunFolder, step: int, evaluation: Record) -> Iterator[str]:
    path = shell_word(str(run.path))
    chat = " --chat" if evaluation.get("answers") else ""
    of = f"over {evaluation['tokens']:,} held-out tokens"
    yield f"{run.path}: finished at step {step:,}: {best_figure([evaluation])} {of}"
    yield f"report: {run.log_file}; try: lmhead sample {path}{chat}"
    yield f"to go on: lmhead train --resume {path} --steps {2 * step}"


def _new_schedule(step: int, steps: int, before: int | None, config: TrainConfig) -> str:
    from lmhead.training.optimizers.optimizer import schedule

    ahead = range(step, max(steps, step + 1), max(1, (steps - step) // _LOOKED_AT))
    factors = [schedule(at, steps, config.optimizer) for at in ahead]
    peak = max(factors)
    last = len(factors) - 1 - factors[::-1].index(peak)
    falls = f"falls from step {ahead[last]:,} on, to {factors[-1]:.2g} at the end"
    was = "" if before is None or step == 0 else f", {schedule(step, before, config.optimizer):.2f} until now"
    return (
        f"steps: {'not fixed' if before is None else f'{before:,}'} -> {steps:,}; the rates' factor is "
        f"{factors[0]:.2f} now{was}, at most {peak:.2f} from here on, "
        f"and {falls if factors[-1] < peak else 'does not fall'}"
    )
