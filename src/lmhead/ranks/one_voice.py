"""One voice of many ranks: whatever ends a run, one rank tells it in one line, and every rank ends.

An error that all ranks raise is told by the first that comes. One that a single rank raises is told by it; the others
find their collectives broken, and are silent. A rank that says nothing, killed or hung, is named by those that are
left, or by `lmhead train --nproc`, which knows what ended it.
"""

import contextlib
import os
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

import torch.distributed as dist

from lmhead.errors import LmheadError, LostRankError
from lmhead.options import option
from lmhead.ranks.agreement import SilentRankError
from lmhead.ranks.watch import Watch
from lmhead.ranks.world import END, UntoldError, World
from lmhead.stop_signals import STOP_SIGNALS

_OF_GLOO: Final = re.compile(r"/gloo/|Connection (closed|reset) by peer|Timed out waiting|Broken pipe", re.IGNORECASE)
_CLEARED: Final = "\r\x1b[2K"  # a bar that rank 0 draws stands on the line
_PAUSE: Final = 0.1  # seconds


def with_one_voice(
    work: Callable[[World, Watch], int],
    *,
    status: Callable[[BaseException], int],
    tell: Callable[[BaseException, str], None],
    timeout: float,
) -> int:
    """The exit status of `work` in the world that the environment names. Where it raises, this process ends.

    Args:
        status: the exit status of an error.
        tell: prints it, with what goes on with the run, "" where nothing does.
        timeout: seconds until a rank that does not come is called lost.
    """
    if os.environ["RANK"] != "0":
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  till the end
        warnings.simplefilter("ignore")
    try:
        world = World.entered(timeout)
        watch = Watch(world)
    except BaseException as error:  # noqa: BLE001  whatever it is, this process ends
        _end_outside(error, status, tell)
    try:
        made = work(world, watch)
    except BaseException as error:  # noqa: BLE001
        with contextlib.suppress(KeyboardInterrupt):  # its agent asks it to end before it is deaf to that
            _end(world, watch, error, status, tell)
        _end(world, watch, error, status, tell)
    if made:
        _stopped(world, made)
    if not watch.stop():
        _leave(made)
    return made


def _end_outside(
    error: BaseException, status: Callable[[BaseException], int], tell: Callable[[BaseException, str], None]
) -> NoReturn:
    """Before the ranks have met they cannot agree on who tells."""
    _deaf()
    untold = isinstance(error, UntoldError | KeyboardInterrupt)  # another rank tells it, or whoever started them
    read_by_all = isinstance(error, LmheadError) and not isinstance(error, LostRankError)
    one_of_them = "TORCHELASTIC_RUN_ID" in os.environ and os.environ["RANK"] != "0"  # else it may be the only one
    if not untold and not (read_by_all and one_of_them):
        tell(error, "")
    _leave(error.status if isinstance(error, UntoldError) else status(error))


def _end(
    world: World,
    watch: Watch,
    error: BaseException,
    status: Callable[[BaseException], int],
    tell: Callable[[BaseException, str], None],
) -> NoReturn:
    _deaf()
    asked = isinstance(error, KeyboardInterrupt)
    if asked and (told := world.end()) is not None:
        _leave(told)
    if _is_broken(error) or (asked and watch.gone()):  # its agent ends it, since another rank has ended
        lost = watch.lost()
        if lost is None or (world.launched and watch.gone()):
            _leave(_end_of(world, otherwise=1))
        error = _lost(world, lost, timed_out=re.search("time(d | |-)?out", str(error), re.IGNORECASE) is not None)
    if world.claims_end(status(error), again=isinstance(error, LostRankError)):
        if world.rank and sys.stderr.isatty():
            sys.stderr.write(_CLEARED)
        tell(error, world.rest())
    _leave(_end_of(world, otherwise=status(error)))


def _end_of(world: World, *, otherwise: int) -> int:
    """The exit status that a rank has told."""
    told = world.end()
    return otherwise if told is None else told


def _is_broken(error: BaseException) -> bool:
    """Whether a collective or the store failed, since another rank did, or was waited for in vain."""
    if isinstance(error, SilentRankError):
        return True
    if isinstance(error, LmheadError):
        return False
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and _OF_GLOO.search(str(error)) is not None
    )


def _lost(world: World, what: str, *, timed_out: bool) -> LostRankError:
    rule = "stay until the run is over"
    if timed_out:
        rule = f"come to what all do together within the time-out of {world.timeout:g} s ({option('timeout')})"
    remedy = "all are started again" if world.restarts_left else world.resumed_by()
    return LostRankError(f"every rank must {rule}, got {what}: {remedy}")


def _stopped(world: World, status: int) -> NoReturn:
    """All ranks have stopped at the same step: they end when rank 0 has told it."""
    _deaf()
    if world.first:
        world.claims_end(status)
    deadline = time.monotonic() + world.timeout
    with contextlib.suppress(dist.DistError):  # the agent has ended, and with it the store
        while not world.store.check([END]) and time.monotonic() < deadline:
            time.sleep(_PAUSE)
    _leave(status)


def _deaf() -> None:
    """What this rank tells it tells to its end, whatever its agent asks of it meanwhile."""
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)


def _leave(status: int) -> NoReturn:
    """End at once: what a collective still waits for would hold up an orderly end."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)
