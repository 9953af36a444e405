"""What several ranks cost: a step of `lmhead train` on 1, 2 and 4 processes of one machine, beside one process alone.

    python -m benchmarks.ranks.overheads          tables, and JSON in benchmarks/results/ranks_overheads.json: minutes
    python -m benchmarks.ranks.overheads --quick  a tiny model: does it run?

The ranks share two cores: nothing can get faster here but by threads, and what is measured is what ranks add. Each case
takes its steps in turn, round by round, in processes that stay; the ratio to one process with as many threads as the
case has in all is taken in each round. `in collectives` is the share of a step's time, on rank 0, while at least one
collective is under way: waiting for a slower rank is part of it.
"""

import argparse
import contextlib
import dataclasses
import multiprocessing
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from benchmarks.harness import Report, cpu_seconds_of_others, progress
from benchmarks.ranks.wire import counted_collectives
from lmhead.cli.plans.rank_plan import plan_of
from lmhead.models.config import GPTConfig
from lmhead.training.config.optimizer_config import OptimizerConfig
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.loop import Trainer

_MIB: Final = 2**20
_NEVER: Final = 10**9  # steps: later than any of these runs
_LIMIT: Final = 600  # seconds until a rank must have answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Processes that train one run."""

    ranks: int
    mesh: str | None = None
    threads: int = 1  # of each process

    @property
    def name(self) -> str:
        """As it stands in the tables."""
        if self.ranks == 1:
            return f"one process, {self.threads} thread{'s' * (self.threads > 1)}"
        return f"{self.ranks} ranks, {self.mesh or f'shard={self.ranks}'}"


CASES: Final = [
    *(Case(ranks=1, threads=threads) for threads in (1, 2, 4)),
    Case(ranks=2),
    Case(ranks=2, mesh="dp=2"),
    Case(ranks=2, mesh="tp=2"),
    Case(ranks=2, mesh="cp=2"),
    Case(ranks=4),
    Case(ranks=4, mesh="dp=2,shard=2"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The run that all take."""

    model: GPTConfig
    rows: int = 16
    warm_up: int = 3  # steps before the first round
    rounds: int = 5
    steps: int = 6  # of each case in a round; the median counts

    def config(self, case: Case, text: Path, out: Path) -> TrainConfig:
        """Of a case, in a folder of its own."""
        made = TrainConfig(
            out=str(out),
            steps=_NEVER,
            rows=self.rows,
            model=self.model,
            optimizer=OptimizerConfig(name="adamw"),
            precision="float32",
            device="cpu",
            save_every=_NEVER,
            eval_every=_NEVER,
            sample_every=_NEVER,
            nproc=case.ranks,
            mesh=case.mesh,
        )
        return dataclasses.replace(made, data=dataclasses.replace(made.data, paths=(str(text),))).resolved()


class World:
    """The processes of a case, which wait for what they are asked to do.

    Args:
        folder: where the run is.
    """

    def __init__(self, case: Case, setting: Setting, text: Path, folder: Path) -> None:
        self.case, self.config = case, setting.config(case, text, folder)
        context = multiprocessing.get_context("spawn")
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            port = listening.getsockname()[1]
        self._pipes: list[Connection] = []
        self._processes = []
        for rank in range(case.ranks):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(case, self.config, rank, port, theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def ask(self, what: str, *arguments: Any) -> list[Any]:
        """What each rank answers, in rank order."""
        for pipe in self._pipes:
            pipe.send((what, arguments))
        answers = []
        for rank, pipe in enumerate(self._pipes):
            assert pipe.poll(_LIMIT), f"{self.case.name}: rank {rank} does not answer"
            answers.append(pipe.recv())
        return answers

    def end(self) -> None:
        """No process is left."""
        for process in self._processes:
            process.kill()
            process.join()


def _serve(case: Case, config: TrainConfig, rank: int, port: int, pipe: Connection) -> None:
    torch.set_num_threads(case.threads)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(case.ranks), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    trainer = _trainer(config)
    doings: dict[str, Callable[..., Any]] = {
        "steps": _steps,
        "collectives": _collectives,
        "sent": _sent,
        "memory": _memory,
        "save": _save,
    }
    while True:
        what, arguments = pipe.recv()
        pipe.send(doings[what](trainer, *arguments))


def _trainer(config: TrainConfig) -> Trainer:
    from lmhead.ranks.join import join
    from lmhead.training.reporter import Reporters
    from lmhead.training.run.run_folder import RunFolder
    from lmhead.training.setup import prepare

    ranks = join(config.mesh, device=torch.device("cpu"), timeout=_LIMIT)
    path = Path(str(config.out))
    run = RunFolder.create(path) if ranks.first else RunFolder(path)
    ready = prepare(config, run, lambda line: None, ranks=ranks)
    ranks.agreed(lambda: run.write_config(ready.config, fingerprint=ready.fingerprint()))
    return Trainer(run, ready.config, ready, Reporters(), time.perf_counter())


def _steps(trainer: Trainer, count: int) -> list[float]:
    """Seconds of each."""
    return [_seconds(trainer) for _ in range(count)]


def _seconds(trainer: Trainer) -> float:
    began = time.perf_counter()
    trainer._step()
    return time.perf_counter() - began


def _collectives(trainer: Trainer, count: int) -> tuple[float, int]:
    """(the share of the time of steps while a collective is under way, collectives of a step)."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler tells stderr when it starts and stops
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        began = time.perf_counter()
        _steps(trainer, count)
        took = time.perf_counter() - began
    assert profiler.profiler is not None
    assert profiler.profiler.kineto_results is not None
    spans = [
        (event.start_ns(), event.start_ns() + event.duration_ns())
        for event in profiler.profiler.kineto_results.events()
        if event.name().startswith("gloo:")
    ]
    return _covered(spans) / 1e9 / took, len(spans) // count


def _covered(spans: list[tuple[int, int]]) -> int:
    """How much at least one of the spans covers."""
    covered, until = 0, 0
    for start, end in sorted(spans):
        covered += max(0, end - max(start, until))
        until = max(until, end)
    return covered


def _sent(trainer: Trainer, count: int) -> float:
    """Bytes that a step gives to collectives, as a ring sends them."""
    with counted_collectives() as sent:
        _steps(trainer, count)
    return sum(sent.values()) / count


def _memory(trainer: Trainer) -> dict[str, int]:
    """Bytes of parameters, of gradients before the optimiser's step, of its states; the process' peak in a step."""
    gradients: list[int] = []
    plain = trainer.optimizers.step

    def noting(factor: float) -> None:
        gradients.append(sum(_bytes(each.grad) for each in trainer.model.parameters() if each.grad is not None))
        plain(factor)

    trainer.optimizers.step = noting  # type: ignore[method-assign]
    _proc("clear_refs").write_text("5")  # the high-water mark starts again from here
    trainer._step()
    trainer.optimizers.step = plain  # type: ignore[method-assign]
    states = [value for part in trainer.optimizers.parts for state in part.state.values() for value in state.values()]
    peak = next(line for line in _proc("status").read_text().splitlines() if line.startswith("VmHWM"))
    return {
        "parameters": sum(_bytes(each) for each in trainer.model.parameters()),
        "gradients": gradients[0],
        "optimizer": sum(_bytes(each) for each in states if isinstance(each, Tensor) and each.dim()),
        "process": int(peak.split()[1]) * 1024,
    }


def _proc(name: str) -> Path:
    return Path("/proc/self") / name


def _bytes(tensor: Tensor) -> int:
    own = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return own.numel() * own.element_size()


def _save(trainer: Trainer) -> tuple[float, float]:
    """Seconds until a checkpoint is begun, and until it is published."""
    _steps(trainer, 1)
    began = time.perf_counter()
    trainer.save()
    begun = time.perf_counter() - began
    trainer.checkpoints.settle()
    return begun, time.perf_counter() - began


@contextlib.contextmanager
def worlds(setting: Setting, cases: list[Case]) -> Iterator[list[World]]:
    """One of each case, warmed up."""
    made: list[World] = []
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        sources = sorted(Path(os.__file__).parent.glob("*.py"))  # of Python: some megabytes
        text.write_text("\n\n".join(each.read_text(encoding="utf-8", errors="replace") for each in sources))
        try:
            for number, case in enumerate(cases):
                progress(f"starting {case.name}")
                made.append(World(case, setting, text, Path(folder) / f"run-{number}"))
                made[-1].ask("steps", setting.warm_up)
            yield made
        finally:
            for world in made:
                world.end()


def measure(setting: Setting, cases: list[Case]) -> dict[str, dict[str, Any]]:
    """Of each case by name what was measured, the ranks' answers in rank order."""
    with worlds(setting, cases) as made:
        found: dict[str, dict[str, Any]] = {
            world.case.name: {"case": dataclasses.asdict(world.case), "steps": [], "others": []} for world in made
        }
        for number in range(setting.rounds):
            turn = number % len(made)
            for world in [*made[turn:], *made[:turn]]:
                others, began = cpu_seconds_of_others(), time.perf_counter()
                seconds = world.ask("steps", setting.steps)[0]
                theirs = cpu_seconds_of_others() - others - sum(seconds) * min(_cores(), _threads(world.case))
                of_all = (time.perf_counter() - began) * _cores()
                found[world.case.name]["steps"].append(statistics.median(seconds))
                found[world.case.name]["others"].append(max(0.0, theirs) / of_all)
            progress(f"round {number + 1} of {setting.rounds}")
        for world in made:
            progress(f"{world.case.name}: collectives, memory, checkpoints")
            kept = found[world.case.name]
            kept["collectives"] = world.ask("collectives", setting.steps)
            kept["sent"] = world.ask("sent", 2)
            kept["planned"] = sum(each.sent for each in plan_of(world.config, world.case.ranks).traffic)
            kept["memory"] = world.ask("memory")
            kept["save"] = [world.ask("save") for _ in range(3)]
    return found


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _threads(case: Case) -> int:
    return case.ranks * case.threads


def tables(setting: Setting, cases: list[Case], found: dict[str, dict[str, Any]]) -> list[Report]:
    """Of time, and of memory and checkpoints."""
    model = setting.model
    what = f"V {model.vocab_size}, D {model.embed_dim}, {model.num_layers} layers, {setting.rows} x {model.max_seq_len}"
    time_table = Report(
        name="ranks_overheads",
        title=f"a step on {_cores()} cores, {what} tokens, float32, AdamW",
        columns=("", "ms a step", "to one process of as many threads", "in collectives", "collectives", "sent to plan"),
    )
    memory_table = Report(
        name="ranks_overheads",
        title=f"a rank's memory and a checkpoint, {what} tokens",
        columns=("", "parameters", "gradients", "optimiser states", "peak RSS, MiB", "begun, s", "published, s"),
    )
    alone = found[Case(ranks=1).name]
    for case in cases:
        mine = found[case.name]
        peer = found[Case(ranks=1, threads=_threads(case)).name]
        ratio = statistics.median(a / b for a, b in zip(mine["steps"], peer["steps"], strict=True))
        share, count = mine["collectives"][0]
        many = case.ranks > 1
        time_table.rows.append(
            (
                case.name,
                f"{1e3 * statistics.median(mine['steps']):.0f}",
                f"{ratio:.2f}" if many else "",
                f"{share:.0%}" if many else "",
                f"{count}" if many else "",
                f"{mine['sent'][0] / mine['planned']:.3f}" if many else "",
            )
        )
        parts = [
            f"{max(each[part] for each in mine['memory']) / alone['memory'][0][part]:.3f}"
            for part in ("parameters", "gradients", "optimizer")
        ]
        begun, published = (statistics.median(max(each) for each in _saves(mine, at)) for at in (0, 1))
        peak = max(each["process"] for each in mine["memory"]) / _MIB
        memory_table.rows.append((case.name, *parts, f"{peak:.0f}", f"{begun:.2f}", f"{published:.2f}"))
    worst = max(share for each in found.values() for share in each["others"])
    time_table.notes.append(f"Other processes took at most {worst:.0%} of the cores' time in a round.")
    memory_table.notes.append("Parameters, gradients and states as a share of one process'; the largest rank's.")
    return [time_table, memory_table]


def _saves(mine: dict[str, Any], at: int) -> list[list[float]]:
    """Of each save the seconds of every rank."""
    return [[rank[at] for rank in save] for save in mine["save"]]


def main() -> None:
    """Parse the command line, measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tiny model, nothing saved")
    parser.add_argument("--json", type=Path, metavar="FILE", help="instead of benchmarks/results/ranks_overheads.json")
    options = parser.parse_args()
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # of the ranks, whose waits for rank 0 are no warnings
    sizes = {"vocab_size": 4096, "embed_dim": 256, "num_heads": 4, "num_layers": 4, "max_seq_len": 256}
    setting = Setting(model=GPTConfig(**sizes, tie_weights=False), rounds=options.rounds)  # type: ignore[arg-type]
    cases = CASES
    if options.quick:
        sizes = {"vocab_size": 300, "embed_dim": 32, "num_heads": 1, "num_layers": 2, "max_seq_len": 32}
        model = GPTConfig(**sizes, tie_weights=False)  # type: ignore[arg-type]
        setting = Setting(model=model, rows=4, warm_up=1, rounds=2, steps=2)
        cases = [Case(ranks=1), Case(ranks=1, threads=2), Case(ranks=2)]
    found = measure(setting, cases)
    reports = tables(setting, cases, found)
    for report in reports:
        print(report.table(), flush=True)
    if not options.quick or options.json:
        first, second = reports
        first.measured = {"setting": dataclasses.asdict(setting), **found, "memory table": [*second.rows]}
        print(f"\n{first.save(options.json)}")


if __name__ == "__main__":
    main()
