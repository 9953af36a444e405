"""`lmhead train`: texts or conversations in, a run folder out."""

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lmhead.cli.flags import take
from lmhead.cli.train_config import read_train_config
from lmhead.errors import InputError
from lmhead.training.config import TrainConfig, differences
from lmhead.training.stopping import Stopped, exit_status, stops_at_once

ABOUT = (
    "Train a language model on texts or on conversations. With no flags: Python's standard library, a small decoder, "
    "some minutes. --init RUN goes on from the weights of another run; --config FILE.yaml gives defaults for the "
    "flags; --resume RUN goes on with a stopped run, exactly."
)


def run(arguments: Sequence[str]) -> int:
    """Parse, print the plan, train, print where to look."""
    try:
        with stops_at_once():  # but in training, where nothing is to be lost
            return _run(arguments)
    except Stopped as stopped:
        print(f"\nstopped by {stopped.name}", file=sys.stderr)  # noqa: T201
        return exit_status(stopped.name)


def _run(arguments: Sequence[str]) -> int:
    started = time.perf_counter()
    config_file, words = take(arguments, "config")
    resumed, words = take(words, "resume")
    earlier = _earlier(resumed)
    base = None if config_file else earlier
    config = read_train_config(words, command="train", about=ABOUT, config_file=config_file, base=base).resolved()
    if earlier is not None:
        config = _same(earlier, config, Path(resumed or ""))
    return _train(config, resumed, started)


def _earlier(resumed: str | None) -> TrainConfig | None:
    from lmhead.training.run_folder import RunFolder

    return None if resumed is None else RunFolder.open(Path(resumed)).config()


def _same(earlier: TrainConfig, config: TrainConfig, run: Path) -> TrainConfig:
    if config.out not in (None, earlier.out):
        raise InputError(f"cannot resume {run} into another folder: leave --out {config.out} out")
    if config.steps is None:
        config = dataclasses.replace(config, steps=earlier.steps)  # the length that a timed run settled on
    differing = differences(earlier, config)
    if differing:
        raise InputError(
            f"cannot resume {run} with another config ({'; '.join(differing)}): "
            "leave those flags out, or start a new run with --out"
        )
    return config


def _train(config: TrainConfig, resumed: str | None, started: float) -> int:
    from lmhead.cli.console import console, labelling, make_reporter
    from lmhead.cli.plan import describe, describe_result, describe_stop, require_memory
    from lmhead.training.loop import Trainer
    from lmhead.training.run_folder import RunFolder
    from lmhead.training.setup import prepare

    require_memory(config)
    out = Path(resumed or config.out or f"runs/{time.strftime('%Y%m%d-%H%M%S')}")
    run = RunFolder.open(out) if resumed else RunFolder.create(out)
    config = dataclasses.replace(config, out=str(out))
    out_console = console()
    try:
        with labelling(out_console) as progress:
            ready = prepare(config, run, out_console.print, progress)
        config = ready.config
        for line in describe(config, ready):
            out_console.print(line)
        if not resumed:
            run.write_config(config)
            for name, text in {"tokenizer.json": ready.tokenizer.backend.to_str(), **ready.tokenizer.files}.items():
                run.write_text(name, text)
    except BaseException:
        run.abandon()
        raise
    with make_reporter(out_console, config) as reporter:
        trainer = Trainer(run, config, ready, reporter, started)
        if resumed:
            trainer.resume()
            out_console.print(f"resuming at step {trainer.progress.step:,}")
        outcome = trainer.train()
    if outcome.stopped_by:
        sys.stdout.flush()
        out_console.print(describe_stop(outcome, out))
        return exit_status(outcome.stopped_by)
    for line in describe_result(outcome, ready, out):
        out_console.print(line)
    return 0
