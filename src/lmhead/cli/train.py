"""`lmhead train`: texts or conversations in, a run folder out."""

import dataclasses
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from lmhead.cli.flags.parsing import given
from lmhead.cli.flags.train_config import TrainFlags, train_config
from lmhead.cli.outlet import outlast
from lmhead.cli.spelling import spelled
from lmhead.cli.train_ranks import Place, as_rank, is_rank, launched, require_same_nproc
from lmhead.errors import InputError
from lmhead.ranks.ranks import ALONE, Ranks
from lmhead.shown import shown, shown_line
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.stopping import Stopped, exit_status, stops_at_once

if TYPE_CHECKING:
    from lmhead.cli.resume import Resumed
    from lmhead.data.tokenizer.run_tokenizer import RunTokenizer
    from lmhead.training.run.run_folder import RunFolder

ABOUT = (
    "Train a language model on texts or on conversations. With no flags: Python's standard library, a small decoder, "
    "some minutes. --init MODEL goes on from the weights of a run, or of any causal language model that transformers "
    "loads, --lora 16 by adapters beside them; --config FILE.yaml gives defaults for the "
    "flags; --resume RUN goes on with a stopped run, exactly: with --steps to another end, with --step N from an "
    "earlier checkpoint."
)
CONFIG: Final = TrainFlags  # what its flags are


def run(arguments: Sequence[str]) -> int:
    """Parse, print the plan, train, print where to look."""
    try:
        with stops_at_once():  # but in training, where nothing is to be lost
            return as_rank(arguments, _run) if is_rank() else _run(arguments)
    except Stopped as stopped:
        if is_rank():  # whoever started it says so
            return exit_status(stopped.name)
        sys.stderr.write("\nstopped by " + shown(stopped.name) + "\n")
        return exit_status(stopped.name)


def _run(arguments: Sequence[str], place: Place | None = None) -> int:
    """As one process, or as one rank of several."""
    started = time.perf_counter()
    flags = given(TrainFlags, arguments, command="train", about=ABOUT)
    if place is None and (status := launched(flags, arguments)) is not None:
        return status
    require_same_nproc(flags)
    resumed, step = flags.get("resume"), flags.get("step")
    if place is not None:
        out, run = place.world.earlier()
        if run is not None:
            resumed, flags = run, {}
        elif out is not None:
            flags["out"] = out
    if resumed is not None:
        from lmhead.cli.resume import resume
        from lmhead.tracking.trackers import require_trackers

        def train(run: "RunFolder", config: TrainConfig, earlier: "Resumed") -> int:
            require_trackers(config.track)
            return _as_ranks(run, config, earlier, started, place)

        return resume(Path(str(resumed)), flags, train, ALONE if place is None else place.world)
    if step is not None:
        raise InputError(f"--step must come with --resume RUN, got --step {step} alone; --steps is the run's length")
    if "init" in flags and (place is None or place.world.first):  # which reads them for all; others may not have them
        from lmhead.data.rows.selection import require_files

        require_files(cast(Sequence[str], flags.get("data.paths", ())))  # before the model is looked for
    return _begin(train_config(flags).resolved(), started, place)


def _begin(config: TrainConfig, started: float, place: Place | None) -> int:
    from lmhead.cli.plans.plan import require_memory
    from lmhead.tracking.trackers import require_trackers
    from lmhead.training.run.run_folder import RunFolder
    from lmhead.training.weights.start import found_from_anywhere

    require_trackers(config.track)
    ranks = ALONE if place is None else place.world
    require_memory(config, ranks=ranks.size, on_host=ranks.on_host)
    if config.init is not None:  # a run that is resumed from another folder finds it
        config = dataclasses.replace(config, init=found_from_anywhere(config.init))

    def create() -> RunFolder:
        return RunFolder.create_in(Path("runs")) if config.out is None else RunFolder.create(Path(config.out))

    with create() if place is None else place.folder(create) as run:
        return _as_ranks(run, dataclasses.replace(config, out=str(run.path)), None, started, place)


def _as_ranks(
    run: "RunFolder", config: TrainConfig, resumed: "Resumed | None", started: float, place: Place | None
) -> int:
    if place is None:
        return _train(run, config, resumed, started)
    return place.train(config, lambda ranks: _train(run, config, resumed, started, ranks))


def write_tokenizer(run: "RunFolder", tokenizer: "RunTokenizer") -> None:
    """Put the tokenizer's files into a run's folder."""
    for name, text in {**tokenizer.files, "tokenizer.json": tokenizer.backend.to_str()}.items():
        run.write_text(name, text)


def _train(
    run: "RunFolder", config: TrainConfig, resumed: "Resumed | None", started: float, ranks: Ranks = ALONE
) -> int:
    """Of several ranks the first alone writes the run's folder and prints."""
    from lmhead.cli.console import console
    from lmhead.cli.data_progress import data_progress
    from lmhead.cli.plans.plan import describe, describe_result, describe_stop
    from lmhead.cli.report_along import ReportAlong, drawn_at_the_end
    from lmhead.cli.run_display import make_reporter
    from lmhead.models.device import precision_name
    from lmhead.tracking.tracker import TrackingReporter
    from lmhead.tracking.trackers import trackers
    from lmhead.training.loop import Trainer
    from lmhead.training.reporter import Reporters
    from lmhead.training.setup import prepare

    if ranks.first:
        outlast(f"training goes on, the log is {shown_line(str(run.log_file))}")
    out = console(quiet=config.quiet or not ranks.first)

    def say(line: str) -> None:
        out.print(shown_line(spelled(line, "train")))  # a path's line ends are its own

    with ExitStack() as stack:
        try:
            with data_progress(out) as progress:
                checkpoint = None if resumed is None else resumed.checkpoint
                ready = prepare(config, run, say, progress, checkpoint=checkpoint, ranks=ranks)
            config = ready.config
            if resumed is None:  # auto: a run that goes on elsewhere multiplies as it began
                config = dataclasses.replace(config, precision=precision_name(ready.dtype))
            for line in describe(config, ready):
                say(line)
            reporters = Reporters(*([stack.enter_context(make_reporter(out, config))] if ranks.first else []))
            trainer = Trainer(run, config, ready, reporters, started)
            if resumed is None:
                ranks.agreed(lambda: write_tokenizer(run, ready.tokenizer))
            else:
                for line in trainer.resume(resumed.checkpoint):
                    say(line)
                say(f"resuming at step {trainer.progress.step:,}")
                for line in resumed.lines(trainer.progress.step, config):
                    say(line)
            ranks.agreed(lambda: run.write_config(config, fingerprint=ready.fingerprint()))  # last: now it is a run
            ranks.began(str(run.path))
        except BaseException:
            if ranks.first:
                run.abandon()
            raise
        if not ranks.first:
            outcome = trainer.train()
            return exit_status(outcome.stopped_by) if outcome.stopped_by else 0
        for name, tracker in stack.enter_context(trackers(run, config, trainer.progress.step)).items():
            say(f"{name}: {tracker.where}")
            reporters.add(TrackingReporter(tracker))
        report = ReportAlong(run, say)
        reporters.add(report)
        with drawn_at_the_end(report, run, trainer):
            outcome = trainer.train()
    result = console()
    if outcome.stopped_by:
        for line in (report.line, describe_stop(outcome, run.path)):  # how it goes on is what is looked for last
            result.print(shown_line(line))
        return exit_status(outcome.stopped_by)
    for line in [*describe_result(outcome, ready, run.path), report.line]:
        result.print(shown_line(line))
    return 0
