"""Runs peers in turn in one process and reports medians of ratios, so that a busy machine disturbs all alike.

    interleave      seconds of each case, round by round; the order turns, so that nobody always follows the same one;
                    what other processes disturbed is run again
    peak_memory     bytes that one call adds to what is there: the allocator's peak, and the process's
    in_a_process    the same in a fresh interpreter, where nobody has filled a cache yet
    Report          a Markdown table on the terminal, and JSON in benchmarks/results/

Absolute seconds of two runs are not to be compared; the ratios are.
"""

import ctypes
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"
_MIB = 2**20
_DISTURBED = 0.04  # of all cores' time taken by others: a barrier waits as long as one core is elsewhere
_UNSURE = 0.02  # seconds: the kernel counts in steps of 10 ms, so a short run has this much of others' time by chance
_ATTEMPTS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One thing to be timed. `most_rounds` keeps a slow peer from taking the whole time."""

    name: str
    run: Callable[[], object]
    most_rounds: int | None = None
    warm_up: bool = True  # False: it keeps nothing from a run to the next


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Seconds of each case in each round; a case that sat a round out has None there."""

    seconds: dict[str, list[float | None]]
    disturbed: dict[str, list[float | None]] = field(default_factory=dict)  # share of the cores that others took

    def most_disturbed(self) -> float:
        """The largest share that others took of a measurement that is kept."""
        return max(share for shares in self.disturbed.values() for share in shares if share is not None)

    def note(self) -> str:
        """What a report says of it."""
        return (
            f"Other processes took at most {self.most_disturbed():.0%} of the cores' time in a measurement that counts."
        )

    def median(self, name: str) -> float:
        """Median seconds of a case."""
        return statistics.median(s for s in self.seconds[name] if s is not None)

    def ratio(self, name: str, to: str) -> float:
        """Median over rounds of this case's time by another's in the same round."""
        pairs = zip(self.seconds[name], self.seconds[to], strict=True)
        return statistics.median(a / b for a, b in pairs if a is not None and b is not None)


def interleave(cases: Sequence[Case], *, rounds: int, warm_up: int = 1, label: str | None = "") -> Timings:
    """Run every case once a round, after `warm_up` rounds that are not counted.

    `label` opens the lines of progress; None: there are none.
    """
    gc.collect()
    gc.freeze()  # what is there already is not looked through before every measurement
    try:
        return _rounds(cases, rounds, warm_up, label)
    finally:
        gc.unfreeze()


def _rounds(cases: Sequence[Case], rounds: int, warm_up: int, label: str | None) -> Timings:
    seconds: dict[str, list[float | None]] = {case.name: [] for case in cases}
    disturbed: dict[str, list[float | None]] = {case.name: [] for case in cases}
    for number in range(-warm_up, rounds):
        turn = number % len(cases)
        for case in [*cases[turn:], *cases[:turn]]:
            most_rounds = rounds if case.most_rounds is None else case.most_rounds
            sits_out = number >= most_rounds or (number < 0 and not case.warm_up)
            attempts = 0 if sits_out else _ATTEMPTS if number >= 0 else 1
            took, share = _calmest(case.run, attempts) if attempts else (None, None)
            if number >= 0:
                seconds[case.name].append(took)
                disturbed[case.name].append(share)
        if label is not None:
            progress(label + (f"round {number + 1} of {rounds}" if number >= 0 else "warm-up"))
    return Timings(seconds=seconds, disturbed=disturbed)


def progress(line: str) -> None:
    """Say on stderr what is being done: stdout is for the tables."""
    print(line, file=sys.stderr, flush=True)


def _calmest(run: Callable[[], object], attempts: int) -> tuple[float, float]:
    """(seconds, share that others took) of the first attempt that is not disturbed, else of the least disturbed."""
    tried: list[tuple[float, float]] = []
    for _ in range(attempts):
        tried.append(_seconds(run))
        if tried[-1][1] <= _DISTURBED:
            break
    return min(tried, key=lambda attempt: attempt[1])


def _seconds(run: Callable[[], object]) -> tuple[float, float]:
    gc.collect()
    others = cpu_seconds_of_others()
    start = time.perf_counter()
    result = run()
    took = time.perf_counter() - start
    theirs = max(0.0, cpu_seconds_of_others() - others - _UNSURE)
    share = theirs / (took * (os.cpu_count() or 1))
    del result
    return took, share


def cpu_seconds_of_others() -> float:
    """Seconds that all cores have worked for anybody but this process and its ended children, in steps of 10 ms."""
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, _first_line("/proc/stat").split()[1:9])
    own = os.times()
    ours = own.user + own.system + own.children_user + own.children_system
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK") - ours


def _first_line(path: str) -> str:
    return Path(path).read_text().partition("\n")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Peak bytes that one call added, what it returned or left in .grad included."""

    allocator: int  # torch's own count: every tensor, nothing else
    process: int  # resident pages: libraries' scratch and the allocator's losses too
    largest: tuple[int, ...] = ()  # bytes of the largest tensors alive at the allocator's peak


def peak_memory(run: Callable[[], object], *, before_each: Callable[[], object]) -> Memory:
    """Peak bytes of `run()`; `before_each` drops what an earlier call left behind."""
    before_each()
    process = _process_peak(run)
    before_each()
    allocator, largest = allocator_peak(run)
    return Memory(allocator=allocator, process=process, largest=largest)


def _process_peak(run: Callable[[], object]) -> int:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
    before = _status_bytes("VmRSS")
    result = run()
    peak = _status_bytes("VmHWM")
    del result
    return peak - before


def _status_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"{name} is not in /proc/self/status")


def allocator_peak(run: Callable[[], object]) -> tuple[int, tuple[int, ...]]:
    """Peak bytes of tensors that `run()` made, and the sizes of the largest of them that were alive then."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler tells stderr when it starts and stops
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = run()
    del result
    assert profiler.profiler is not None
    assert profiler.profiler.kineto_results is not None
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    return _peak_of([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])


def _peak_of(changes: Sequence[int], *, kept: int = 6) -> tuple[int, tuple[int, ...]]:
    """The highest running sum of allocations and (negative) releases, and the `kept` largest sizes alive there."""
    held = peak = 0
    alive: Counter[int] = Counter()
    largest: tuple[int, ...] = ()
    for change in changes:
        held += change
        alive[abs(change)] += 1 if change > 0 else -1
        if held > peak:
            peak = held
            largest = tuple(sorted(alive.elements(), reverse=True)[:kept])
    return peak, largest


def in_a_process(module: str, *arguments: str) -> Memory:
    """Memory that `python -m module arguments` printed as its last line (print_memory)."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], check=True, stdout=subprocess.PIPE, text=True, timeout=600
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return Memory(allocator=found["allocator"], process=found["process"], largest=tuple(found["largest"]))


def print_memory(memory: Memory) -> None:
    """The other end of in_a_process."""
    print(json.dumps(asdict(memory)))


def mib(count: float) -> str:
    """Bytes as MiB, for a table."""
    return f"{count / _MIB:.0f}"


@dataclass(slots=True, kw_only=True)
class Report:
    """Rows of a table, goals, and everything that was measured."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    goals: list[dict[str, object]] = field(default_factory=list)
    measured: dict[str, object] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # sentences under the table

    def goal(self, what: str, got: float, *, at_most: float | None = None, at_least: float | None = None) -> None:
        """Note a goal and whether it is reached."""
        reached = (at_most is None or got <= at_most) and (at_least is None or got >= at_least)
        bound = f"at most {at_most:g}" if at_most is not None else f"at least {at_least:g}"
        self.goals.append({"goal": what, "bound": bound, "got": round(got, 3), "reached": reached})

    def table(self) -> str:
        """The rows and the goals as Markdown."""
        machine = describe_machine()
        lines = [
            f"### {self.title}",
            "",
            f"{machine['cpu']}, {machine['threads']} threads, torch {machine['torch']}, {machine['date']}, "
            f"commit {machine['commit']}",
            "",
            *_markdown(self.columns, self.rows),
        ]
        for note in self.notes:
            lines += ["", note]
        if self.goals:
            rows = [
                (str(g["goal"]), str(g["bound"]), f"{g['got']:.2f}", "yes" if g["reached"] else "**no**")
                for g in self.goals
            ]
            lines += ["", *_markdown(("goal", "bound", "measured", "reached"), rows)]
        return "\n".join(lines)

    def save(self, path: Path | None = None) -> Path:
        """Write everything as JSON, by default to benchmarks/results/NAME.json."""
        path = path or RESULTS / f"{self.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "name": self.name,
            "title": self.title,
            "machine": describe_machine(),
            "columns": self.columns,
            "rows": self.rows,
            "goals": self.goals,
            "notes": self.notes,
            "measured": self.measured,
        }
        path.write_text(json.dumps(content, indent=1) + "\n")
        return path


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    separator = ["---", *["---:"] * (len(columns) - 1)]
    return ["| " + " | ".join(cells) + " |" for cells in (columns, separator, *rows)]


def describe_machine() -> dict[str, str | int]:
    """What the figures depend on: processor, cores, threads, versions, date, commit."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _commit() -> str:
    """Short hash of HEAD, with a + where the library differs from it."""
    root = Path(__file__).parent.parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--", "src/lmhead/ops") else "")
