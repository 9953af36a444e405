"""Time and memory over three decades of each size, the other two fixed: they have to grow linearly.

Times as everywhere; a step that takes less than 20 ms is repeated within a measurement. Memory is the allocator's peak,
in this process, with the buffers of earlier calls given back.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

import torch

import lmhead
from benchmarks.harness import Case, Report, allocator_peak, interleave, mib, progress
from benchmarks.op.problem import Inputs, Shape, short
from benchmarks.op.programs import OURS, Products, program

Size = Literal["N", "D", "V"]
_FIXED = Shape(N=512, D=256, V=16384)
_LEAST: dict[Size, int] = {"N": 8, "D": 4, "V": 256}
_DOUBLINGS = 10  # three decades
_ROUNDS = 3
_MEASUREMENT = 0.02  # seconds, at least
_PRODUCTS = "products"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One problem: medians of seconds, bytes."""

    size: int
    ours: float
    products: float
    peak: int  # gradients included
    gradients: int
    logits: int  # of all rows in float32: what is never held


def measure(dtype: torch.dtype, *, quick: bool) -> Report:
    """Exponents over the last decade of each size, and every point for the plot."""
    fixed = _FIXED.tiny() if quick else _FIXED
    found: dict[Size, list[Point]] = {}
    for size, least in _LEAST.items():
        sizes = [least * 2**step for step in ((0, 3) if quick else range(_DOUBLINGS + 1))]
        progress(f"growth, {short(dtype)}: {size} from {sizes[0]} to {sizes[-1]}")
        found[size] = [_point(dataclasses.replace(fixed, **{size: value}), value, dtype) for value in sizes]
    return _report(found, fixed, dtype, quick=quick)


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """The slope of log value over log size, least squares, over the last decade of sizes."""
    pairs = [
        (math.log(size), math.log(value)) for size, value in zip(sizes, values, strict=True) if size * 10 >= sizes[-1]
    ]
    x_mean = sum(x for x, _ in pairs) / len(pairs)
    y_mean = sum(y for _, y in pairs) / len(pairs)
    return sum((x - x_mean) * (y - y_mean) for x, y in pairs) / sum((x - x_mean) ** 2 for x, _ in pairs)


def _point(shape: Shape, size: int, dtype: torch.dtype) -> Point:
    inputs = Inputs(shape, dtype)
    programs = {_PRODUCTS: Products(inputs).three, OURS: program(OURS, inputs)}
    counts = {name: _repetitions(run) for name, run in programs.items()}
    cases = [Case(name=name, run=_repeated(run, counts[name])) for name, run in programs.items()]
    timings = interleave(cases, rounds=_ROUNDS, warm_up=0, label=None)
    lmhead.release_workspace()
    peak, _ = allocator_peak(programs[OURS])
    return Point(
        size=size,
        ours=timings.median(OURS) / counts[OURS],
        products=timings.median(_PRODUCTS) / counts[_PRODUCTS],
        peak=peak,
        gradients=inputs.gradient_bytes(),
        logits=inputs.shape.N * inputs.shape.V * 4,
    )


def _repetitions(run: Callable[[], object]) -> int:
    """How often `run` has to be called for a measurement; the first call warms up."""
    run()
    start = perf_counter()
    run()
    return max(1, math.ceil(_MEASUREMENT / (perf_counter() - start)))


def _repeated(run: Callable[[], object], count: int) -> Callable[[], object]:
    def repeat() -> None:
        for _ in range(count):
            run()

    return repeat


def _report(found: dict[Size, list[Point]], fixed: Shape, dtype: torch.dtype, *, quick: bool) -> Report:
    report = Report(
        name=f"op_growth_{short(dtype)}",
        title=f"growth: one size varied, the others of {fixed}, {short(dtype)}",
        columns=(
            "size",
            "from",
            "to",
            "seconds there",
            "x products there",
            "exponent of time, last decade",
            "of the products' time",
            "of the peak",
            "peak beyond the gradients there, MiB",
            "float32 logits there, MiB",
        ),
    )
    for size, points in found.items():
        sizes, last = [point.size for point in points], points[-1]
        slopes = [
            exponent(sizes, values)
            for values in ([p.ours for p in points], [p.products for p in points], [p.peak for p in points])
        ]
        report.rows.append(
            (
                size,
                str(sizes[0]),
                str(sizes[-1]),
                f"{last.ours:.3f}",
                f"{last.ours / last.products:.2f}",
                *(f"{slope:.2f}" for slope in slopes),
                mib(last.peak - last.gradients),
                mib(last.logits),
            )
        )
        if not quick:
            report.goal(f"exponent of time in {size}", slopes[0], at_most=1.1)
    report.measured = {
        "fixed": dataclasses.asdict(fixed),
        "points": {size: [dataclasses.asdict(point) for point in points] for size, points in found.items()},
    }
    return report
