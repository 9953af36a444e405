"""The op on a GPU: linear_cross_entropy beside its three bare matrix products, and beside its peers.

    python -m benchmarks.gpu                          every shape; table on stdout, JSON in benchmarks/results/
    python -m benchmarks.gpu --only llama-8b --rounds 50
    python -m benchmarks.gpu --check                  a tiny shape on the CPU, in Triton's interpreter: does it run?

Needs the library, torch and Triton; takes Liger, cut-cross-entropy and quack where they can be imported. All cases of a
shape run in turn, round by round, and are timed by events on the device: the ratios are of one run. Without a CUDA
device it says so and exits with 2.
"""

import argparse
import gc
import importlib.metadata
import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

if "--check" in sys.argv:
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports Triton

import torch
from torch import Tensor

from benchmarks.harness import RESULTS, Report, mib, progress
from benchmarks.op.problem import Shape
from benchmarks.peers import TORCH_OP, Loss, one_line, peers
from lmhead import IGNORE_INDEX, linear_cross_entropy

SHAPES = {
    "gemma-2-2b": Shape(N=8192, D=2304, V=256_000),
    "llama-3-8b": Shape(N=8192, D=4096, V=128_256),
    "llama-3-8b-short": Shape(N=2048, D=4096, V=128_256),
    "qwen-2.5-0.5b": Shape(N=16384, D=896, V=151_936),
    "deepseek-v3": Shape(N=4096, D=7168, V=129_280),
}
SHARES = (1.0, 0.5, 0.1)  # of the rows that are scored
PEERS = (
    "plain logits, upcast",
    "torch.compile of plain logits",
    TORCH_OP,
    "Liger",
    "cut-cross-entropy, cce",
    "quack",
)
_MIB = 2**20
_SMALL = 64 * _MIB
OURS: dict[str, dict[str, object]] = {
    "lmhead": {"backend": "triton"},
    "lmhead, waits for nothing": {"backend": "triton_masked"},
    "lmhead, 64 MiB": {"backend": "triton", "memory_budget": _SMALL},
    "lmhead, 16-bit sums": {"backend": "triton_16bit_sums"},
    "lmhead, no kernels": {"backend": "chunked"},
}
_ONE, _THREE = "the first product", "the three products"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """One problem on the device."""

    hidden: Tensor  # [N, D]
    weight: Tensor  # [V, D]
    targets: Tensor  # [N]

    @staticmethod
    def of(shape: Shape, share: float, device: str) -> "Inputs":
        """Standard normal hidden states, a head at the scale of a fresh model's, a share of the rows scored."""
        generator = torch.Generator(device).manual_seed(0)
        options = {"generator": generator, "device": device}
        hidden = torch.randn(shape.N, shape.D, **options).bfloat16()  # type: ignore[call-overload]
        weight = torch.randn(shape.V, shape.D, **options).mul_(0.02).bfloat16()  # type: ignore[call-overload]
        targets = torch.randint(shape.V, (shape.N,), **options)  # type: ignore[call-overload]
        ignored = torch.rand(shape.N, **options).argsort() >= round(share * shape.N)  # type: ignore[call-overload]
        targets = targets.masked_fill(ignored, IGNORE_INDEX)
        return Inputs(hidden=hidden.requires_grad_(), weight=weight.requires_grad_(), targets=targets)


@dataclass(slots=True, kw_only=True)
class Case:
    """Somebody's loss, forward or forward and backward, and what came of it."""

    name: str
    run: Callable[[], object]
    refusal: str | None = None
    peak: int | None = None  # bytes above inputs and gradients


def main() -> int:
    """Measure, print, save. Returns the exit status."""
    arguments = _parser().parse_args()
    if arguments.check and importlib.util.find_spec("triton") is None:
        print("triton is not installed: there is nothing to check", file=sys.stderr)
        return 2
    if not arguments.check and not torch.cuda.is_available():
        print("no CUDA device: nothing is measured (--check runs a tiny shape on the CPU)", file=sys.stderr)
        return 2
    shapes = {"tiny": Shape(N=5, D=8, V=300)} if arguments.check else {name: SHAPES[name] for name in arguments.only}
    device, rounds = ("cpu", 1) if arguments.check else ("cuda", arguments.rounds)
    report = Report(
        name="op_gpu",
        title=f"forward and backward on {_chip(device)}, bfloat16",
        columns=("shape, scored", "", "ms", "times the products", "of the matrix rate", "MiB more"),
    )
    rate = _matrix_rate(device, 64 if arguments.check else 8192)
    report.measured = {"versions": _versions(), "matrix_rate": rate, "cases": {}}
    for name, shape in shapes.items():
        _measure(report, name, shape, device, rounds, rate)
    print(report.table())
    folder = arguments.json or (None if arguments.check else RESULTS)
    if folder:
        print(f"\n{report.save(folder / 'op_gpu.json')}")
    return 0


def _measure(report: Report, name: str, shape: Shape, device: str, rounds: int, rate: float) -> None:
    """All passes, shares and cases of one shape; its goals."""
    whole: dict[str, float] = {}
    for share in SHARES:
        inputs = Inputs.of(shape, share, device)
        for backward in (False, True):
            what = "forward and backward" if backward else "forward"
            progress(f"{name}, {share:.0%} scored, {what}")
            cases = _cases(inputs, backward=backward)
            for case in cases:
                _try(case, inputs, device, backward=backward)
            running = [case for case in cases if case.refusal is None]
            seconds = _interleaved(running, device, rounds)
            medians = {case.name: statistics.median(seconds[case.name]) for case in running}
            products = _THREE if backward else _ONE
            for case in cases:
                row = (f"{name}, {share:.0%}, {what}", case.name)
                if case.refusal is not None:
                    report.rows.append((*row, case.refusal, "", "", ""))
                    continue
                operations = shape.operations if backward else shape.operations // 3
                if case.name != products:  # they multiply every row; what is asked for is the scored ones
                    operations = round(operations * share)
                took = medians[case.name]
                report.rows.append(
                    (
                        *row,
                        f"{took * 1e3:.2f}",
                        f"{took / medians[products]:.3f}",
                        f"{operations / took / rate:.0%}",
                        "" if case.peak is None else mib(case.peak),
                    )
                )
            report.measured["cases"][f"{name}, {share:.0%}, {what}"] = {  # type: ignore[index]
                "seconds": seconds,
                "refusals": {case.name: case.refusal for case in cases if case.refusal is not None},
                "peak_bytes": {case.name: case.peak for case in running},
            }
            if device != "cpu":
                _goals(report, f"{name}, {share:.0%}", what, shape, share, cases, medians, whole)


def _goals(
    report: Report,
    where: str,
    what: str,
    shape: Shape,
    share: float,
    cases: Sequence[Case],
    medians: dict[str, float],
    whole: dict[str, float],
) -> None:
    """Note what is wanted of this library, and what it reaches; `whole` keeps the times of all rows scored."""
    ours = medians.get("lmhead")
    if ours is None:
        report.notes.append(f"{where}, {what}: lmhead did not run, so no goal is reached.")
        return
    products = medians[_THREE if what != "forward" else _ONE]
    peaks = {case.name: case.peak for case in cases if case.peak is not None}
    if share == 1.0:
        whole[what] = ours
        bound = 1.10 if what == "forward" else 1.12
        report.goal(f"{where}, {what}: times the products", ours / products, at_most=bound)
        stated = 0 if what == "forward" else 4 * shape.D * shape.V  # the float32 sum
        report.goal(f"{where}, {what}: MiB beyond what is stated", (peaks["lmhead"] - stated) / _MIB, at_most=512)
        others = {name: took for name, took in medians.items() if name in PEERS}
        if others:
            report.goal(f"{where}, {what}: times the fastest peer", ours / min(others.values()), at_most=1.0)
        if "Liger" in medians:
            report.goal(f"{where}, {what}: Liger's time by ours", medians["Liger"] / ours, at_least=2.0)
            report.goal(f"{where}, {what}: memory by Liger's", peaks["lmhead"] / max(peaks["Liger"], 1), at_most=1.0)
        if "lmhead, 64 MiB" in medians and what != "forward":
            small = medians["lmhead, 64 MiB"]
            report.goal(f"{where}, {what}, 64 MiB: times the products", small / products, at_most=1.35)
    elif share == min(SHARES) and what in whole:
        report.goal(f"{where}, {what}: times the full cost", ours / whole[what], at_most=0.15)


def _cases(inputs: Inputs, *, backward: bool) -> list[Case]:
    """The products, this library's forms, the peers."""
    losses: dict[str, Callable[[], Loss]] = {name: _ours(options) for name, options in OURS.items()}
    known = peers()
    on_a_gpu = inputs.hidden.is_cuda
    losses |= {name: known[name].loss for name in PEERS if on_a_gpu or not known[name].compiled}
    cases = [Case(name=name, run=run) for name, run in _products(inputs, backward=backward).items()]
    return cases + [Case(name=name, run=_step(made, inputs, backward=backward)) for name, made in losses.items()]


def _ours(options: dict[str, object]) -> Callable[[], Loss]:
    def loss(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        result = linear_cross_entropy(hidden, weight, targets, **options)  # type: ignore[call-overload]
        assert isinstance(result, Tensor)
        return result

    return lambda: loss


def _step(made: Callable[[], Loss], inputs: Inputs, *, backward: bool) -> Callable[[], object]:
    """Gradients in new memory, given back to the caller. (The loss is made, or is not to be had, on the first call.)"""

    def forward() -> object:
        with torch.no_grad():
            return made()(inputs.hidden, inputs.weight, inputs.targets)

    def both() -> object:
        made()(inputs.hidden, inputs.weight, inputs.targets).backward()  # type: ignore[no-untyped-call]
        gradients = inputs.hidden.grad, inputs.weight.grad
        inputs.hidden.grad = inputs.weight.grad = None
        return gradients

    return both if backward else forward


def _products(inputs: Inputs, *, backward: bool) -> dict[str, Callable[[], object]]:
    """What no way around is known of: at full size, every row, into memory that is there."""
    hidden, weight = inputs.hidden.detach(), inputs.weight.detach()
    logits = hidden.new_empty(hidden.shape[0], weight.shape[0])
    if not backward:
        return {_ONE: lambda: torch.mm(hidden, weight.t(), out=logits)}
    d_hidden, d_weight = torch.empty_like(hidden), torch.empty_like(weight)

    def three() -> None:
        torch.mm(hidden, weight.t(), out=logits)
        torch.mm(logits, weight, out=d_hidden)
        torch.mm(logits.t(), hidden, out=d_weight)

    return {_THREE: three}


def _try(case: Case, inputs: Inputs, device: str, *, backward: bool) -> None:
    """Run it twice (the first compiles), and look what it takes or why it does not run."""
    try:
        case.run()
        if device == "cpu":
            return
        gc.collect()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        kept = case.run()
        torch.cuda.synchronize()
        case.peak = torch.cuda.max_memory_allocated() - before
        if backward and case.name != _THREE:
            case.peak -= sum(t.numel() * t.element_size() for t in (inputs.hidden, inputs.weight))
        del kept
    except Exception as error:  # noqa: BLE001  # a peer may raise anything, out of memory above all: that is the answer
        case.refusal = one_line(error)
        inputs.hidden.grad = inputs.weight.grad = None
        gc.collect()
        if device != "cpu":
            torch.cuda.empty_cache()


def _interleaved(cases: Sequence[Case], device: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of each case in each round; the order turns, so that nobody always follows the same one."""
    seconds: dict[str, list[float]] = {case.name: [] for case in cases}
    for number in range(rounds):
        turn = number % len(cases)
        for case in [*cases[turn:], *cases[:turn]]:
            seconds[case.name].append(_seconds(case.run, device))
    return seconds


def _seconds(run: Callable[[], object], device: str) -> float:
    if device == "cpu":
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    begin.record()
    result = run()
    end.record()
    torch.cuda.synchronize()
    del result
    return float(begin.elapsed_time(end)) / 1e3


def _matrix_rate(device: str, size: int) -> float:
    """Operations a second of a square bfloat16 product: what the chip gives today."""
    left, right = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    out = torch.empty_like(left)
    times = [_seconds(lambda: torch.mm(left, right, out=out), device) for _ in range(13)]
    return 2 * size**3 / statistics.median(times[3:])


def _chip(device: str) -> str:
    return "the CPU, interpreted" if device == "cpu" else torch.cuda.get_device_name()


def _versions() -> dict[str, str | None]:
    """Of the chip's software and of everybody measured."""
    found: dict[str, str | None] = {"cuda": torch.version.cuda, "torch": torch.__version__}
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        found["driver"] = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    for package in ("triton", "liger-kernel", "cut-cross-entropy", "quack-kernels"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(SHAPES), default=list(SHAPES), help="default: all shapes")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--check", action="store_true", help="a tiny shape on the CPU, interpreted; nothing is saved")
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="where the JSON goes, not benchmarks/results")
    return parser


if __name__ == "__main__":
    sys.exit(main())
