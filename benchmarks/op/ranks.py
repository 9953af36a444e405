"""Runs programs on several ranks of this machine, in turn with others: what benchmarks.op.sharded times.

One set of processes for all cases, joined by gloo; a case takes the first of them, the rest wait. Rank 0 decides what
comes next, so that a measurement which other processes disturbed can be made again by all.
"""

import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.harness import Timings, allocator_peak, cpu_seconds_of_others, progress

_DISTURBED, _ATTEMPTS = 0.04, 4  # as in benchmarks/harness.py
_STOP, _PEAK = -1, -2


@dataclass(frozen=True, slots=True, kw_only=True)
class RanksCase:
    """One thing to be timed on the first `ranks` processes, which share the cores."""

    name: str
    ranks: int
    make: Callable[[dist.ProcessGroup], Callable[[], object]]  # on each of them; importable


@dataclass(frozen=True, slots=True, kw_only=True)
class RanksMeasured:
    """Of all cases."""

    timings: Timings
    in_collectives: dict[str, float]  # median share of the time that a rank is inside collectives, waiting included
    peaks: dict[str, tuple[int, ...]]  # bytes that a call adds on each rank, by the allocator


def measured_on_ranks(cases: Sequence[RanksCase], *, rounds: int) -> RanksMeasured:
    """Every case once a round, after one round that is not counted; then each one's peak."""
    size = max(case.ranks for case in cases)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        processes = [
            context.Process(target=_run, args=(rank, size, store, list(cases), rounds, None if rank else theirs))
            for rank in range(size)
        ]
        for process in processes:
            process.start()
        theirs.close()
        try:
            made: RanksMeasured = ours.recv()
        except EOFError as error:
            raise RuntimeError("a rank ended, see above") from error
        finally:
            for process in processes:
                process.join(60)
                process.kill()
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lap:
    seconds: float
    in_collectives: float
    cpu_seconds: float


class _Clock:
    """Adds up the seconds that this process spends inside torch's collectives."""

    def __init__(self) -> None:
        self.seconds = 0.0
        for name in ("all_reduce", "all_gather"):
            setattr(dist, name, self._timed(getattr(dist, name)))

    def _timed(self, collective: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            made = collective(*arguments, **options)
            self.seconds += time.perf_counter() - start
            return made

        return timed


def _run(rank: int, size: int, store: str, cases: list[RanksCase], rounds: int, pipe: Any) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    groups = {ranks: dist.new_group(list(range(ranks))) for ranks in sorted({case.ranks for case in cases})}
    clock, cores = _Clock(), len(os.sched_getaffinity(0))
    programs = []
    for case in cases:
        torch.set_num_threads(max(1, cores // case.ranks))
        programs.append(case.make(groups[case.ranks]) if rank < case.ranks else None)
    follow = _Follower(cases, programs, clock, cores)
    if rank:
        while follow.next():
            pass
        return
    measured = _lead(follow, cases, rounds)
    follow.say(_STOP, 0)
    pipe.send(measured)
    pipe.close()


class _Follower:
    """What every rank does of what rank 0 says."""

    def __init__(
        self, cases: Sequence[RanksCase], programs: Sequence[Callable[[], object] | None], clock: _Clock, cores: int
    ) -> None:
        self.cases, self.programs, self.clock, self.cores = cases, programs, clock, cores

    def say(self, what: int, index: int) -> None:
        """On rank 0, what is next."""
        dist.broadcast(torch.tensor([what, index]), 0)

    def next(self) -> bool:
        """On the others."""
        said = torch.zeros(2, dtype=torch.int64)
        dist.broadcast(said, 0)
        what, index = said.tolist()
        if what != _STOP:
            self.gathered(self.peak(index) if what == _PEAK else self.lap(index))
        return bool(what != _STOP)

    def lap(self, index: int) -> _Lap | None:
        """One run, from when all are there."""
        program = self._prepared(index)
        dist.barrier()
        if program is None:
            return None
        start, cpu, inside = time.perf_counter(), time.process_time(), self.clock.seconds
        result = program()
        took = time.perf_counter() - start
        del result
        return _Lap(seconds=took, in_collectives=self.clock.seconds - inside, cpu_seconds=time.process_time() - cpu)

    def peak(self, index: int) -> int | None:
        """Bytes that one run adds."""
        program = self._prepared(index)
        return None if program is None else allocator_peak(program)[0]

    def _prepared(self, index: int) -> Callable[[], object] | None:
        torch.set_num_threads(max(1, self.cores // self.cases[index].ranks))
        return self.programs[index]

    def gathered(self, own: object) -> list[Any]:
        """What those that took part have, on rank 0."""
        parts: list[Any] | None = None if dist.get_rank() else [None] * dist.get_world_size()
        dist.gather_object(own, parts)
        return [part for part in parts or () if part is not None]


def _lead(follow: _Follower, cases: Sequence[RanksCase], rounds: int) -> RanksMeasured:
    names = [case.name for case in cases]
    seconds: dict[str, list[float | None]] = {name: [] for name in names}
    disturbed: dict[str, list[float | None]] = {name: [] for name in names}
    shares: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-1, rounds):
        turn = number % len(cases)
        for index in [*range(turn, len(cases)), *range(turn)]:
            tried = [_once(follow, index)]
            while number >= 0 and tried[-1][1] > _DISTURBED and len(tried) < _ATTEMPTS:
                tried.append(_once(follow, index))
            laps, share = min(tried, key=lambda attempt: attempt[1])
            if number >= 0:
                seconds[names[index]].append(max(lap.seconds for lap in laps))
                disturbed[names[index]].append(share)
                shares[names[index]] += [lap.in_collectives / lap.seconds for lap in laps]
        progress(f"    round {number + 1} of {rounds}" if number >= 0 else "    warm-up")
    peaks = {}
    for index, name in enumerate(names):
        follow.say(_PEAK, index)
        peaks[name] = tuple(follow.gathered(follow.peak(index)))
    return RanksMeasured(
        timings=Timings(seconds=seconds, disturbed=disturbed),
        in_collectives={name: statistics.median(found) for name, found in shares.items()},
        peaks=peaks,
    )


def _once(follow: _Follower, index: int) -> tuple[list[_Lap], float]:
    """(each rank's lap, the share of the cores that strangers took)."""
    follow.say(0, index)
    others = cpu_seconds_of_others()
    laps = follow.gathered(follow.lap(index))
    theirs = cpu_seconds_of_others() - others - sum(lap.cpu_seconds for lap in laps[1:])
    took = max(lap.seconds for lap in laps)
    return laps, max(0.0, theirs - 0.02) / (took * follow.cores)
