"""`lmhead` with a fault in one of its ranks: FAULT=kind:rank:phase:step python -m tests.ranks.faulty_lmhead train ...

The fault comes once, in the first attempt: when the rank comes to the phase at that step or a later one.

    kinds    kill (SIGKILL), term (SIGTERM), freeze (SIGSTOP), hang (sleeps, and lets threads and handlers run),
             nan (of its loss), disk (full from now on: whatever is written fails)
             gone (the run's folder is moved away)
    phases   start (of the process), prepare (data and model, when the ranks have joined), share (the data are written
             for the other ranks), step, backward, copy (of its state for a checkpoint, whose folder is there), save
             (its state was copied), write (beside training), publish, evaluate, sample, over (all is evaluated), left
             (all have come to the end)
"""

import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, Final

KINDS: Final = ("kill", "term", "freeze", "hang", "nan", "disk", "gone")
PHASES: Final = (
    *("start", "prepare", "share", "step", "backward", "copy", "save", "write", "publish", "evaluate", "sample"),
    *("over", "left"),
)


def strike(kind: str) -> None:
    """What the fault does to its process."""
    numbers = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "freeze": signal.SIGSTOP}
    if kind in numbers:
        os.kill(os.getpid(), numbers[kind])
    elif kind == "hang":
        while True:
            time.sleep(60)
    elif kind == "disk":
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


class Fault:
    """One that is still to come."""

    def __init__(self, kind: str, phase: str, step: int) -> None:
        assert kind in KINDS, kind
        assert phase in PHASES, phase
        self.kind, self.phase, self.step = kind, phase, step
        self.done = False

    def __call__(self, phase: str, step: int) -> bool:
        """Strike where this is its moment; whether it was."""
        if self.done or phase != self.phase or step < self.step:
            return False
        self.done = True
        strike(self.kind)
        return True


def install(fault: Fault) -> None:
    """Let the phases of this process call it."""
    import lmhead.training.setup as setup
    from lmhead.ranks import shared_object
    from lmhead.ranks.process_ranks import ProcessRanks
    from lmhead.training import loop
    from lmhead.training.checkpoints import rank_checkpoints
    from lmhead.training.checkpoints.rank_checkpoints import RankCheckpoints
    from lmhead.training.evaluating import Evaluating
    from lmhead.training.loop import Trainer

    trainers: list[Trainer] = []

    def step() -> int:
        return trainers[0].progress.step if trainers else 0

    def before(owner: Any, name: str, phase: str) -> None:
        plain: Callable[..., Any] = getattr(owner, name)

        @wraps(plain)
        def struck(*arguments: Any, **options: Any) -> Any:
            if isinstance(arguments[0], Trainer):
                trainers[:] = [arguments[0]]
            fault(phase, step())
            return plain(*arguments, **options)

        setattr(owner, name, struck)

    before(setup, "prepare", "prepare")
    before(Trainer, "_step", "step")
    before(Evaluating, "_between", "evaluate")
    before(Evaluating, "_sample", "sample")
    before(RankCheckpoints, "_write", "write")
    before(RankCheckpoints, "publish", "publish")
    before(ProcessRanks, "leave", "over")
    begin, joined, tensors = RankCheckpoints.begin, loop.joined, rank_checkpoints.state_tensors
    written, leave = shared_object._written, ProcessRanks.leave

    def begun(*arguments: Any, **options: Any) -> None:
        begin(*arguments, **options)
        fault("save", step())

    def behind_backward(made: Any, *arguments: Any) -> Any:
        if fault("backward", step()) and fault.kind == "nan":
            made = replace(made, loss=float("nan"), total=float("nan"))
        return joined(made, *arguments)

    def copied(*arguments: Any) -> Any:
        if fault("copy", step()) and fault.kind == "gone":
            run = trainers[0].run.path
            run.rename(run.with_name("aside"))
        return tensors(*arguments)

    def shared(*arguments: Any) -> Any:
        made = written(*arguments)
        fault("share", 0)
        return made

    def left(ranks: ProcessRanks) -> None:
        leave(ranks)
        fault("left", step())

    rank_checkpoints.state_tensors = copied
    shared_object._written = shared
    ProcessRanks.leave = left  # type: ignore[method-assign]
    RankCheckpoints.begin = begun  # type: ignore[method-assign]
    loop.joined = behind_backward


def main() -> int:
    """The command line; a rank of it has the fault, if it is that one."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    kind, rank, phase, step = os.environ["FAULT"].split(":")
    if "RANK" not in os.environ:
        from lmhead.ranks import launch

        launch._MODULE = "tests.ranks.faulty_lmhead"  # type: ignore[misc]
    elif os.environ["RANK"] == rank and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        fault = Fault(kind, phase, int(step))
        fault("start", 0)
        install(fault)
    from lmhead.cli.main import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
