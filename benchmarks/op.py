"""linear_cross_entropy, forward and backward, against its three matrix products and against its peers.

    python -m benchmarks.op                        both dtypes, tables, JSON in benchmarks/results/op_DTYPE.json
    python -m benchmarks.op --dtype bfloat16       one of them
    python -m benchmarks.op --quick                small shapes, two rounds: does it run?

Two baselines. "fresh": the logits go to a buffer that is kept, the two gradients to new memory, as any backward must
give them. "kept": all three results go to buffers that are kept, which no backward can do; it is the strictest.
Both are one product each of all rows, as written in the equivalent plain program.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

import lmhead
from benchmarks.harness import (
    Case,
    Memory,
    Report,
    in_a_process,
    interleave,
    mib,
    peak_memory,
    print_memory,
)

_MIB = 2**20
_TORCH_OP = "torch 2.13 linear_cross_entropy"
_KEPT = "products, kept"
_PEERS = ("lmhead", "plain, upcast to float32", "plain, as they come", _TORCH_OP)
_AT_LEAST_FASTER = {torch.float32: 1.8, torch.bfloat16: 10.0}  # than torch's op


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """N rows of width D against V tokens."""

    N: int = 2048
    D: int = 768
    V: int = 50257


class Inputs:
    """The tensors of one problem, and the programs that are compared on them."""

    def __init__(self, shape: Shape, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(0)
        N, D, V = shape.N, shape.D, shape.V
        self.hidden = torch.randn(N, D, generator=generator).to(dtype).requires_grad_()
        self.weight = (torch.randn(V, D, generator=generator) * 0.02).to(dtype).requires_grad_()
        self.targets = torch.randint(V, (N,), generator=generator)
        self.half = self.targets.masked_fill(torch.rand(N, generator=generator) < 0.5, lmhead.IGNORE_INDEX)

    def kept(self) -> tuple[Tensor, Tensor, Tensor]:
        """Buffers for logits, d_hidden and d_weight."""
        logits = self.hidden.new_empty(self.hidden.shape[0], self.weight.shape[0])
        return logits, torch.empty_like(self.hidden), torch.empty_like(self.weight)

    def programs(self) -> dict[str, Callable[[], object]]:
        """Forward and backward, by the name of who does it."""
        hidden, weight, targets = self.hidden, self.weight, self.targets

        def plain(h: Tensor, w: Tensor, t: Tensor) -> Tensor:
            return F.cross_entropy((h @ w.T).float(), t)

        compiled = torch.compile(plain, dynamic=False)
        return {
            "lmhead": lambda: self._step(lambda: lmhead.linear_cross_entropy(hidden, weight, targets)),
            "lmhead, half ignored": lambda: self._step(
                lambda: lmhead.linear_cross_entropy(hidden, weight, self.half),
            ),
            "plain, upcast to float32": lambda: self._step(lambda: plain(hidden, weight, targets)),
            "plain, as they come": lambda: self._step(lambda: F.cross_entropy(hidden @ weight.T, targets)),
            "torch.compile of plain, upcast": lambda: self._step(lambda: compiled(hidden, weight, targets)),
            _TORCH_OP: lambda: self._step(
                lambda: F.linear_cross_entropy(hidden, weight, targets, options=torch.nn.LinearCrossEntropyOptions())
            ),
        }

    def products(self, buffers: tuple[Tensor, Tensor, Tensor], *, fresh: bool) -> Callable[[], object]:
        """The three bare products."""
        hidden, weight = self.hidden.detach(), self.weight.detach()
        logits, d_hidden, d_weight = buffers

        def run() -> tuple[Tensor, Tensor]:
            torch.mm(hidden, weight.T, out=logits)
            if fresh:
                return torch.mm(logits, weight), torch.mm(logits.T, hidden)
            return torch.mm(logits, weight, out=d_hidden), torch.mm(logits.T, hidden, out=d_weight)

        return run

    def _step(self, loss: Callable[[], Tensor]) -> tuple[Tensor | None, Tensor | None]:
        """Gradients in new memory, given back by the caller: freeing 150 MiB is not a part of what is timed."""
        loss().backward()  # type: ignore[no-untyped-call]
        gradients = self.hidden.grad, self.weight.grad
        self.hidden.grad = self.weight.grad = None
        return gradients

    def gradient_bytes(self) -> int:
        """What any backward has to give back."""
        return sum(t.numel() * t.element_size() for t in (self.hidden, self.weight))


def compare(shape: Shape, dtype: torch.dtype, *, rounds: int, compiled: bool, quick: bool) -> Report:
    """Time and memory of everybody on one problem."""
    inputs = Inputs(shape, dtype)
    buffers = inputs.kept()
    slow = max(2, rounds // 3)
    programs = inputs.programs()
    if not compiled:
        del programs["torch.compile of plain, upcast"]
    cases = [
        Case(name="products, fresh", run=inputs.products(buffers, fresh=True)),
        Case(name=_KEPT, run=inputs.products(buffers, fresh=False)),
        *(Case(name=name, run=run, most_rounds=slow if name == _TORCH_OP else None) for name, run in programs.items()),
    ]
    timings = interleave(cases, rounds=rounds)
    del buffers
    memory = {name: _memory_in_a_process(name, dtype, quick=quick) for name in (*_PEERS, _KEPT)}
    short = str(dtype).removeprefix("torch.")
    report = Report(
        name=f"op_{short}",
        title=f"forward and backward, N {shape.N}, D {shape.D}, V {shape.V}, {short}",
        columns=(
            "",
            "seconds",
            "x fresh",
            "x kept",
            "lmhead is faster by",
            "extra MiB, allocator",
            "extra MiB, process",
        ),
    )
    gradients = inputs.gradient_bytes()
    for case in cases:
        extra = memory.get(case.name)
        given = 0 if case.name == _KEPT else gradients  # its gradients were there before: what is left is scratch
        report.rows.append(
            (
                case.name,
                f"{timings.median(case.name):.3f}",
                f"{timings.ratio(case.name, 'products, fresh'):.2f}",
                f"{timings.ratio(case.name, _KEPT):.2f}",
                "" if "lmhead" in case.name else f"{timings.ratio(case.name, 'lmhead'):.2f}",
                "" if extra is None else mib(extra.allocator - given),
                "" if extra is None else mib(extra.process - given),
            )
        )
    report.measured = {
        "seconds": timings.seconds,
        "share_of_cores_taken_by_others": timings.disturbed,
        "gradient_bytes": gradients,
        "peak_bytes": {name: [peak.allocator, peak.process] for name, peak in memory.items()},
    }
    report.notes.append(
        f"Other processes took at most {timings.most_disturbed():.0%} of the cores' time in a measurement that counts."
    )
    if quick:
        return report  # the goals are for the full shape
    report.goal("times the products, fresh", timings.ratio("lmhead", "products, fresh"), at_most=1.15)
    for name in _PEERS[1:3]:
        report.goal(f"speed against: {name}", timings.ratio(name, "lmhead"), at_least=1.0)
    report.goal(f"speed against: {_TORCH_OP}", timings.ratio(_TORCH_OP, "lmhead"), at_least=_AT_LEAST_FASTER[dtype])
    report.goal("time with half ignored", timings.ratio("lmhead, half ignored", "lmhead"), at_most=0.6)
    report.goal("extra MiB, allocator", (memory["lmhead"].allocator - gradients) / _MIB, at_most=128)
    report.goal("extra MiB, process", (memory["lmhead"].process - gradients) / _MIB, at_most=128)
    return report


def _memory_in_a_process(name: str, dtype: torch.dtype, *, quick: bool) -> Memory:
    short = str(dtype).removeprefix("torch.")
    return in_a_process("benchmarks.op", "--memory-of", name, "--dtype", short, *(["--quick"] if quick else []))


def _memory_of(name: str, shape: Shape, dtype: torch.dtype) -> Memory:
    """In a fresh process. A tiny problem first, so that libraries are loaded and threads are there."""
    Inputs(Shape(N=64, D=64, V=512), dtype).programs()["lmhead" if name == _KEPT else name]()
    inputs = Inputs(shape, dtype)
    if name == _KEPT:
        buffers = inputs.kept()
        for buffer in buffers:
            buffer.zero_()
        return peak_memory(inputs.products(buffers, fresh=False), before_each=lmhead.release_workspace)
    return peak_memory(inputs.programs()[name], before_each=lmhead.release_workspace)


def main() -> None:
    """Parse the command line, run, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="default: both")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="torch.compile of plain logits too (needs a compiler)")
    parser.add_argument("--quick", action="store_true", help="small shapes, two rounds, nothing saved")
    parser.add_argument(
        "--json", type=Path, metavar="FOLDER", help="where the JSON goes, instead of benchmarks/results"
    )
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    shape = Shape(N=256, D=128, V=5003) if arguments.quick else Shape()
    names = [arguments.dtype] if arguments.dtype else ["float32", "bfloat16"]
    dtypes = [torch.float32 if name == "float32" else torch.bfloat16 for name in names]
    if arguments.memory_of:
        print_memory(_memory_of(arguments.memory_of, shape, dtypes[0]))
        return
    rounds = 2 if arguments.quick else arguments.rounds
    for dtype in dtypes:
        report = compare(shape, dtype, rounds=rounds, compiled=arguments.compile, quick=arguments.quick)
        print(report.table(), flush=True)
        if not arguments.quick or arguments.json:
            print(f"\n{report.save(arguments.json and arguments.json / f'{report.name}.json')}\n", flush=True)


if __name__ == "__main__":
    main()
