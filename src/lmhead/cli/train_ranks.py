"""`lmhead train` as several ranks: launched by `--nproc`, or as one of those that torchrun started.

torch is imported where ranks are asked for, and not before.
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from lmhead.cli.flags.train_config import TrainFlags
from lmhead.cli.spelling import spelled
from lmhead.errors import InputError, LmheadError, LostRankError, require
from lmhead.options import option
from lmhead.ranks.ranks import Ranks
from lmhead.shown import shown_line
from lmhead.training.config.train_config import TrainConfig, read_yaml
from lmhead.training.stopping import Stopped, exit_status

if TYPE_CHECKING:
    from lmhead.ranks.watch import Watch
    from lmhead.ranks.world import World
    from lmhead.training.run.run_folder import RunFolder

_WITHOUT_BAR: Final = "\r\x1b[2K\x1b[?25h"  # of a rank that was killed: its line, and the cursor that it hid
_OF_RANKS: Final = ("nproc", "mesh", "timeout", "device")


def is_rank() -> bool:
    """Whether this process was started as one of several, or by an agent that starts it again."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return False
    return os.environ["WORLD_SIZE"] != "1" or "TORCHELASTIC_RUN_ID" in os.environ


def launched(flags: Mapping[str, Any], arguments: Sequence[str]) -> int | None:
    """The exit status of a run of several processes that `nproc` asks for; None where one is enough, which is this.

    Raises:
        ArgumentError: there cannot be so many.
        LostRankError: one of them ended without a word.
    """
    config = _of_ranks(flags)
    restarts = flags.get("max_restarts", 0)
    require(restarts >= 0, "--max-restarts", "be >= 0", restarts)
    if config.nproc == 1:
        remedy = "without ranks, lmhead train --resume RUN goes on"
        require(restarts == 0, "--max-restarts", f"come with {option('nproc')}", f"{restarts} alone", remedy)
        from lmhead.ranks.mesh import MeshPlan

        MeshPlan.of(config.mesh, 1)  # one process would pass over what the mesh cuts
        return None
    from lmhead.cli.plans.rank_plan import require_processes
    from lmhead.ranks.launch import launch, require_ranks

    require_ranks(config.nproc, config.mesh, config.device)
    require_processes(config.nproc)

    def tell(line: str) -> None:
        if sys.stderr.isatty():  # a bar may stand on the line
            sys.stderr.write("\n")
        sys.stderr.write(shown_line(spelled(line, "train")) + "\n")

    try:
        return launch(["train", *arguments], config.nproc, restarts=restarts, patience=config.timeout, told=tell)
    except LostRankError:
        if sys.stderr.isatty():
            sys.stderr.write(_WITHOUT_BAR)
        raise


def _of_ranks(flags: Mapping[str, Any]) -> TrainConfig:
    """How many ranks there are to be, from the flags, or what stands behind them."""
    from lmhead.cli.flags.parsing import changed

    base = TrainConfig()
    if (config := flags.get("config")) is not None:
        base = read_yaml(Path(config))
    elif (resumed := flags.get("resume")) is not None:
        from lmhead.training.run.run_folder import RunFolder

        base = RunFolder.open(Path(resumed)).config()
    made: TrainConfig = changed(base, {name: flags[name] for name in _OF_RANKS if name in flags})
    made.check_ranks()
    return made


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """This process as one rank of several."""

    world: "World"
    watch: "Watch"

    def folder(self, create: "Callable[[], RunFolder]") -> "RunFolder":
        """The run's folder that rank 0 creates and alone writes."""
        from lmhead.training.run.run_folder import RunFolder

        made: list[RunFolder] = []

        def path() -> str:
            made.append(create())
            self.world.created(str(made[0].path))
            return str(made[0].path)

        at = self.world.agreed(path)
        return made[0] if made else RunFolder(Path(at))

    def train(self, config: TrainConfig, train: Callable[[Ranks], int]) -> int:
        """Join the others for what `train` does, and leave them."""
        from lmhead.models.device import choose_device
        from lmhead.ranks.join import join

        self.world.timeout = config.timeout
        ranks = join(
            config.mesh,
            device=choose_device(config.device),
            timeout=config.timeout,
            world=self.world,
            watch=self.watch,
        )
        status = train(ranks)
        if status == 0:
            ranks.leave()
        return status


def as_rank(arguments: Sequence[str], run: Callable[[Sequence[str], Place], int]) -> int:
    """The exit status of `run` as one rank: whatever ends it, one of all tells it.

    Rank 0's words count: on another host, started again later, a script may have found other ones.
    """
    from lmhead.cli.flags.parsing import given
    from lmhead.ranks.one_voice import with_one_voice

    timeout = TrainConfig().timeout
    if not {"--help", "--help-all", "-h"} & {*arguments}:
        with contextlib.suppress(LmheadError):  # it is told when all have met
            timeout = _of_ranks(given(TrainFlags, arguments, command="train", about="")).timeout
    return with_one_voice(
        lambda world, watch: run(world.agreed(lambda: list(arguments)), Place(world=world, watch=watch)),
        status=_status_of,
        tell=_tell,
        timeout=timeout,
    )


def require_same_nproc(flags: Mapping[str, Any]) -> None:
    """Refuse a number of processes that is not that of whoever started this one."""
    there = os.environ.get("LOCAL_WORLD_SIZE")
    if there is not None and "nproc" in flags and str(flags["nproc"]) != there:
        remedy = "leave it out: who starts the ranks says how many there are"
        raise InputError(f"{option('nproc')} must be the {there} of --nproc-per-node, got {flags['nproc']}: {remedy}")


def _status_of(error: BaseException) -> int:
    from lmhead.cli.main import status_of

    if isinstance(error, Stopped):
        return exit_status(error.name)
    if isinstance(error, SystemExit):  # help was shown
        return int(error.code or 0)
    return status_of(error) if isinstance(error, LmheadError) else 1


def _tell(error: BaseException, way_on: str) -> None:
    from lmhead.cli.main import tell

    if isinstance(error, LmheadError):
        tell(error, "train")
    elif isinstance(error, Stopped):
        sys.stderr.write("\nstopped by " + shown_line(f"{error.name}{way_on and '; '}{way_on}") + "\n")
    elif not isinstance(error, SystemExit):
        traceback.print_exception(error, file=sys.stderr)
