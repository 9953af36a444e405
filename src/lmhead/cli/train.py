"""`lmhead train`: texts or conversations in, a run folder out."""

import dataclasses
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from lmhead.cli.flags import take
from lmhead.cli.train_config import read_train_config
from lmhead.errors import InputError
from lmhead.training.config import TrainConfig

if TYPE_CHECKING:
    from lmhead.cli.resume import Resumed
    from lmhead.training.run_folder import RunFolder

ABOUT = (
    "Train a language model on texts or on conversations. With no flags: Python's standard library, a small decoder, "
    "some minutes. --init RUN goes on from the weights of another run; --config FILE.yaml gives defaults for the "
    "flags; --resume RUN goes on with a stopped run, exactly: with --steps to another end, with --step N from an "
    "earlier checkpoint."
)
_SIGNAL_STATUS = {"SIGINT": 130, "SIGTERM": 143}


def run(arguments: Sequence[str]) -> int:
    """Parse, print the plan, train, print where to look."""
    started = time.perf_counter()
    config_file, words = take(arguments, "config")
    resumed, words = take(words, "resume")
    step, words = take(words, "step")
    if resumed is not None:
        from lmhead.cli.resume import resume

        def train(run: "RunFolder", config: TrainConfig, earlier: "Resumed") -> int:
            return _train(run, config, earlier, started)

        return resume(Path(resumed), step, words, config_file, train)
    if step is not None:
        raise InputError(f"--step must come with --resume RUN, got --step {step} alone; --steps is the run's length")
    config = read_train_config(words, command="train", about=ABOUT, config_file=config_file).resolved()
    return _begin(config, started)


def _begin(config: TrainConfig, started: float) -> int:
    from lmhead.cli.plan import require_memory
    from lmhead.training.run_folder import RunFolder

    require_memory(config)
    if config.init is not None:  # a run that is resumed from another folder finds it
        config = dataclasses.replace(config, init=str(Path(config.init).expanduser().absolute()))
    with RunFolder.create_in(Path("runs")) if config.out is None else RunFolder.create(Path(config.out)) as run:
        return _train(run, dataclasses.replace(config, out=str(run.path)), None, started)


def _train(run: "RunFolder", config: TrainConfig, resumed: "Resumed | None", started: float) -> int:
    from lmhead.cli.console import console, labelling, make_reporter
    from lmhead.cli.plan import describe, describe_result
    from lmhead.training.device import precision_name
    from lmhead.training.loop import Trainer
    from lmhead.training.setup import prepare

    out = console()
    with ExitStack() as stack:
        try:
            with labelling(out) as progress:
                ready = prepare(config, run, out.print, progress)
            config = ready.config
            if resumed is None:  # auto: a run that goes on elsewhere multiplies as it began
                config = dataclasses.replace(config, precision=precision_name(ready.dtype))
            for line in describe(config, ready):
                out.print(line)
            trainer = Trainer(run, config, ready, stack.enter_context(make_reporter(out, config)), started)
            if resumed is None:
                files = {**ready.tokenizer.files, "tokenizer.json": ready.tokenizer.backend.to_str()}
                for name, text in files.items():
                    run.write_text(name, text)
            else:
                for line in trainer.resume(resumed.checkpoint):
                    out.print(line)
                out.print(f"resuming at step {trainer.progress.step:,}")
                for line in resumed.lines(trainer.progress.step, config):
                    out.print(line)
            run.write_config(config, fingerprint=ready.rows.fingerprint())  # last: with it the folder is a run
        except BaseException:
            run.abandon()
            raise
        outcome = trainer.train()
    if outcome.stopped_by:
        sys.stdout.flush()
        out.print(
            f"stopped by {outcome.stopped_by} after step {outcome.step:,}, saved; "
            f"go on with: lmhead train --resume {shlex.quote(str(run.path))}"
        )
        return _SIGNAL_STATUS[outcome.stopped_by]
    for line in describe_result(outcome, ready, run.path):
        out.print(line)
    return 0
