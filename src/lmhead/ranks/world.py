"""World of a run: its ranks before they have process groups. They meet in a store, and one of them tells how it ended.

The store is the agent's of torchrun, which outlives ranks that end, or rank 0's where nobody else started them. Each
attempt has keys of its own in it, for with those of an attempt that was killed every second restart would fail. Which
attempt it is, rank 0 says to each rank that is there now: how often torchrun has restarted differs between hosts.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final, TypeVar, final

import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from lmhead.errors import ArgumentError, InputError, LostRankError
from lmhead.options import option
from lmhead.ranks.agreement import Agreements
from lmhead.shown import shell_word

T = TypeVar("T")

LASTING: Final = "lmhead"  # prefix of what outlives an attempt
OUT, RUN, ATTEMPT = "out", "run", "attempt"  # its keys: the folder, the same once it is a run's, the attempt's prefix
OVER: Final = "over"  # another: set once all is trained and evaluated
END: Final = "end"  # of an attempt: who tells how it ended, "rank status again", again 1 where it may go on
USED: Final = "used"  # of an attempt: how often rank 0 was seen to use a processor or a disk
_FINAL: Final = "final"  # of all: the exit status of an end that comes again whenever it is tried again
OURS: Final = "lmhead-"  # begins the id of a world that `lmhead train --nproc` started, and tells the end of
_LONGEST_PAUSE: Final = 0.2  # seconds


class UntoldError(Exception):
    """This rank has nothing to tell: another one does."""

    def __init__(self, status: int = 1) -> None:
        super().__init__(status)
        self.status = status  # to exit with


@final
class World:
    """One rank's place in it.

    Args:
        store: of all attempts.
        name: of this attempt, in the store.
    """

    def __init__(self, store: Store, name: str, *, rank: int, size: int, timeout: float) -> None:
        self.store, self.lasting, self.name = PrefixStore(name, store), PrefixStore(LASTING, store), name
        self.rank, self.size, self.timeout = rank, size, timeout
        self._folder: str | None = None  # once it is a run's
        self._over = False
        self.host = int(os.environ.get("GROUP_RANK", "0"))
        self.on_host = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # ranks
        self._agreements = Agreements(
            PrefixStore("before", self.store), first=rank == 0, timeout=timeout, used=self.used
        )

    @staticmethod
    def entered(timeout: float) -> "World":
        """The world that the environment names, once all ranks are in it.

        Raises:
            ArgumentError: the environment is no world's.
            LostRankError: one does not come within the time-out; the message says which.
            UntoldError: so it is, and rank 0 tells; or an earlier attempt has told that there is no other one.
        """
        rank, size = _number("RANK"), _number("WORLD_SIZE")
        if not 0 <= rank < size:
            raise ArgumentError(f"RANK must be in [0, {size}), the WORLD_SIZE, got {rank}")
        store = _connected(rank, timeout)
        lasting = PrefixStore(LASTING, store)
        if lasting.check([_FINAL]):
            raise UntoldError(int(lasting.get(_FINAL)))  # an attempt before this one told it
        name = _met(lasting, rank, size, timeout)
        return World(store, name, rank=rank, size=size, timeout=timeout)

    @property
    def first(self) -> bool:
        """Whether this one writes what is written once."""
        return self.rank == 0

    @property
    def launched(self) -> bool:
        """Whether `lmhead train --nproc` started it, which tells of ranks that were killed."""
        return os.environ.get("TORCHELASTIC_RUN_ID", "").startswith(OURS)

    @property
    def restarts_left(self) -> bool:
        """Whether ranks that end are started once more."""
        return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > int(
            os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        )

    def agreed(self, work: Callable[[], T]) -> T:
        """What `work` gives on rank 0, where alone it is done; what it raises there, on all ranks."""
        return self._agreements.agreed(work, long=True)

    def used(self) -> bytes:
        """What changes as long as rank 0 uses a processor or a disk."""
        return self.store.get(USED) if self.store.check([USED]) else b""

    def earlier(self) -> tuple[str | None, str | None]:
        """What an attempt before this one has made: (the folder, the same where it is a run's already)."""
        out, run = self.agreed(lambda: [self._known(key) for key in (OUT, RUN)])
        return out, run

    def _known(self, key: str) -> str | None:
        return self.lasting.get(key).decode() if self.lasting.check([key]) else None

    def created(self, folder: str) -> None:
        """Say which folder it is; the next attempt begins in it."""
        self.lasting.set(OUT, folder)

    def began(self, folder: str) -> None:
        """Say that the folder is a run's; the next attempt resumes it."""
        self._folder = folder
        if self.first:
            self.lasting.set(RUN, folder)

    def over(self) -> None:
        """Say that all is trained and evaluated: whoever is stopped from now on has nothing to go on with."""
        self._over = True
        if self.first:
            self.lasting.set(OVER, "")

    def rest(self) -> str:
        """What goes on with a run that was stopped: `resumed_by`; "" where it is over."""
        return "" if self._over else self.resumed_by()

    def resumed_by(self) -> str:
        """What goes on with the run: a command."""
        run = self._folder
        with contextlib.suppress(dist.DistError):
            run = run or self._known(RUN)
        return "start it again" if run is None else f"go on with lmhead train --resume {shell_word(run)}"

    def claims_end(self, status: int, *, again: bool = False) -> bool:
        """Whether this rank, the first one that asks, tells how the attempt ended; the others are silent.

        Args:
            again: another attempt may go on.
        """
        claim = f"{self.rank} {status} {again:d}"
        try:
            mine = self.store.compare_set(END, "", claim).decode() == claim
            if mine and not again:
                self.lasting.set(_FINAL, str(status))
            return mine
        except dist.DistError:  # the store is gone: with the agent, or with rank 0 where that had it
            return self.rank == (0 if _agents_have_it() else 1)

    def end(self) -> int | None:
        """The exit status of the attempt, where a rank has told it."""
        with contextlib.suppress(dist.DistError):
            if self.store.check([END]):
                return int(self.store.get(END).split()[1])
        return None


def _number(name: str) -> int:
    value = os.environ.get(name, "")
    if not value.isascii() or not value.isdecimal():
        raise ArgumentError(f"{name} must be a number in the environment, as torchrun sets it, got {value!r}")
    return int(value)


def _agents_have_it() -> bool:
    """Whether the store is the agent's."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == str(True)


def _connected(rank: int, timeout: float) -> Store:
    """The store that the environment names; rank 0 opens it where no agent did."""
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if not os.environ.get(name):
            remedy = f"let torchrun start the ranks, or set it; for one process unset RANK, which is {rank} here"
            raise ArgumentError(f"{name} must be set for a run of several ranks, got none: {remedy}")
    address, port = os.environ["MASTER_ADDR"], _number("MASTER_PORT")
    if not 0 < port < 1 << 16:
        raise ArgumentError(
            f"MASTER_PORT must be in [1, 65535], got {port}: let torchrun choose it, which its option standalone does"
        )
    opens = rank == 0 and not _agents_have_it()
    if not opens:
        _await_port(address, port, timeout)
    try:
        return TCPStore(
            address,
            port,
            is_master=opens,
            timeout=timedelta(seconds=timeout),
            wait_for_workers=False,
            multi_tenant=True,
        )
    except (dist.DistError, ValueError) as error:
        where = f"{address}:{port}"
        if "EADDRINUSE" in str(error):
            raise InputError(f"MASTER_PORT must be free on rank 0's machine, got {where}: it is taken") from None
        raise _unanswered(f"the store of rank 0 must answer at {where}", timeout, "no answer") from None


def _await_port(address: str, port: int, timeout: float) -> None:
    """Until somebody listens there, or the time-out: what torch waits in hears no signal."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, OverflowError), socket.create_connection((address, port), timeout=1.0):
            return
        time.sleep(_LONGEST_PAUSE)


def _there(store: Store, key: str, timeout: float) -> bool:
    """Whether somebody sets it within the time-out; in looks, between which signals are heard."""
    deadline, pause = time.monotonic() + timeout, 0.01
    while not store.check([key]):
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(1.5 * pause, _LONGEST_PAUSE)
    return True


def _unanswered(rule: str, timeout: float, got: str) -> LostRankError:
    return LostRankError(f"{rule} within the time-out of {timeout:g} s ({option('timeout')}), got {got}")


def _met(lasting: Store, rank: int, size: int, timeout: float) -> str:
    """The attempt's name, which rank 0 gives to each rank that has just said hello: to none of an earlier attempt."""
    me = f"{os.getpid()}-{time.time_ns()}"
    return _welcoming(lasting, me, size, timeout) if rank == 0 else _welcomed(lasting, me, rank, timeout)


def _welcoming(lasting: Store, name: str, size: int, timeout: float) -> str:
    lasting.set(ATTEMPT, name)
    seen: dict[int, bytes] = {}
    deadline, pause = time.monotonic() + timeout, 0.01
    while lasting.add(f"{name}/here", 0) < size - 1:
        for rank in range(1, size):
            said = lasting.get(f"hello/{rank}") if lasting.check([f"hello/{rank}"]) else None
            if said is not None and said != seen.get(rank):
                seen[rank] = said
                lasting.set(f"welcome/{rank}/{said.decode()}", name)
        if time.monotonic() > deadline:
            missing = [rank for rank in range(1, size) if not lasting.check([f"{name}/here/{rank}"])]
            lasting.set(f"{name}/all", "missing")
            raise _unanswered(f"all {size} ranks must be there", timeout, f"no sign of {named(missing)}")
        time.sleep(pause)
        pause = min(1.5 * pause, _LONGEST_PAUSE)
    lasting.set(f"{name}/all", "here")
    return name


def _welcomed(lasting: Store, me: str, rank: int, timeout: float) -> str:
    try:
        lasting.set(f"hello/{rank}", me)
        if not _there(lasting, f"welcome/{rank}/{me}", timeout):
            raise _alone(lasting, me, timeout)
        name = lasting.get(f"welcome/{rank}/{me}").decode()
        lasting.set(f"{name}/here/{rank}", "")
        lasting.add(f"{name}/here", 1)
        if not _there(lasting, f"{name}/all", timeout + 10):
            raise _alone(lasting, me, timeout)
        missing = lasting.get(f"{name}/all") == b"missing"
    except dist.DistError:  # rank 0 had the store, and is gone
        raise UntoldError from None
    if missing:
        raise UntoldError
    return name


def _alone(lasting: Store, me: str, timeout: float) -> LostRankError | UntoldError:
    """What a rank raises that rank 0 has not welcomed: the first of them tells it."""
    key = f"nobody/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    mine = lasting.compare_set(key, "", me).decode() == me
    return _unanswered("rank 0 must be there", timeout, "no sign of it") if mine else UntoldError()


def named(ranks: list[int]) -> str:
    """rank 3; ranks 3, 4 and 9."""
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    shown = [*map(str, ranks[:8]), *([f"{len(ranks) - 8} more"] if len(ranks) > 8 else [])]
    return f"ranks {', '.join(shown[:-1])} and {shown[-1]}"
