"""Forward and backward over sizes: the corners of V 32k to 128k, D 512 to 2048, N 1024 to 4096, and a middle."""

import gc
import statistics
from collections.abc import Sequence
from itertools import product

import torch

from benchmarks.harness import Case, Report, Timings, interleave, progress
from benchmarks.op.problem import HEADLINE, Inputs, Shape, short
from benchmarks.op.programs import (
    AS_THEY_COME,
    COMPILED,
    OURS,
    UPCAST,
    Products,
    plain_bytes,
    program,
)

_CORNERS = [Shape(N=N, D=D, V=V) for V, D, N in product((32768, 131072), (512, 2048), (1024, 4096))]
_SHAPES = sorted([*_CORNERS, HEADLINE], key=lambda shape: (shape.V, shape.D, shape.N))
_ROOM = 14 * 2**30  # bytes: plain logits sit out where they would need more
_OPERATIONS_PER_SECOND = {torch.float32: 0.34e12, torch.bfloat16: 1.4e12}  # of two cores, to choose the rounds
_PRODUCTS = "products"
_AT_MOST = 1.08  # times the products, the median over the grid


def measure(dtype: torch.dtype, *, quick: bool) -> Report:
    """Times the products, of lmhead and of plain logits in their forms, for each shape."""
    shapes = [shape.tiny() for shape in _SHAPES[:2]] if quick else _SHAPES
    timings = {shape: _compare(shape, dtype, quick=quick) for shape in shapes}
    return _report(timings, dtype, quick=quick)


def rounds(shape: Shape, dtype: torch.dtype) -> int:
    """Five; three or two for what takes seconds."""
    seconds = shape.operations / _OPERATIONS_PER_SECOND[dtype]
    return 5 if seconds < 0.6 else 3 if seconds < 2.5 else 2


def _compare(shape: Shape, dtype: torch.dtype, *, quick: bool) -> Timings:
    progress(f"grid, {short(dtype)}: {shape}")
    gc.collect()
    inputs = Inputs(shape, dtype)
    timings = interleave(_programs(inputs, quick=quick), rounds=2 if quick else rounds(shape, dtype), label="    ")
    torch.compiler.reset()  # its graphs hold what they saw
    return timings


def _programs(inputs: Inputs, *, quick: bool) -> list[Case]:
    taken = [OURS]
    if plain_bytes(inputs) + Products.bytes(inputs) <= _ROOM:
        taken += [name for name in _peers(inputs.weight.dtype) if name != COMPILED or not quick]
    return [
        Case(name=_PRODUCTS, run=Products(inputs).three, warm_up=False),
        *(Case(name=name, run=program(name, inputs), warm_up=name in (OURS, COMPILED)) for name in taken),
    ]


def _peers(dtype: torch.dtype) -> list[str]:
    """float32 logits are what they are: one form."""
    return [UPCAST, COMPILED] if dtype == torch.float32 else [UPCAST, AS_THEY_COME, COMPILED]


def _report(timings: dict[Shape, Timings], dtype: torch.dtype, *, quick: bool) -> Report:
    peers = _peers(dtype)
    report = Report(
        name=f"op_grid_{short(dtype)}",
        title=f"the grid: forward and backward in units of the three products, {short(dtype)}",
        columns=("V", "D", "N", "products, seconds", OURS, *peers, "rounds"),
    )
    ratios = {shape: {name: taken.ratio(name, _PRODUCTS) for name in taken.seconds} for shape, taken in timings.items()}
    for shape, taken in timings.items():
        found = [f"{ratios[shape][name]:.2f}" if name in ratios[shape] else "" for name in (OURS, *peers)]
        sizes = (str(shape.V), str(shape.D), str(shape.N))
        count = str(len(taken.seconds[OURS]))
        report.rows.append((*sizes, f"{taken.median(_PRODUCTS):.3f}", *found, count))
    ours = [ratio[OURS] for ratio in ratios.values()]
    report.rows.append(("median", "", "", "", *_medians(list(ratios.values()), (OURS, *peers)), ""))
    report.measured = {
        "shapes": [
            {
                "V": shape.V,
                "D": shape.D,
                "N": shape.N,
                "times_the_products": ratios[shape],
                "seconds": taken.seconds,
                "share_of_cores_taken_by_others": taken.disturbed,
            }
            for shape, taken in timings.items()
        ]
    }
    most = max(taken.most_disturbed() for taken in timings.values())
    report.notes.append(f"Other processes took at most {most:.0%} of the cores' time in a measurement that counts.")
    if not quick:
        report.goal("times the products, median over the grid", statistics.median(ours), at_most=_AT_MOST)
        for name in peers:
            speed = [taken.ratio(name, OURS) for taken in timings.values() if name in taken.seconds]
            report.goal(f"speed against: {name}, least over the grid", min(speed), at_least=1.0)
    return report


def _medians(ratios: Sequence[dict[str, float]], names: Sequence[str]) -> list[str]:
    found = [[ratio[name] for ratio in ratios if name in ratio] for name in names]
    return [f"{statistics.median(values):.2f}" if values else "" for values in found]
