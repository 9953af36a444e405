"""What a memory budget takes, and what a small one costs, at V 128k, where the float32 logits alone are 2 GiB."""

from dataclasses import dataclass

import torch

import lmhead
from benchmarks.harness import Case, Memory, Report, Timings, interleave, mib, progress
from benchmarks.op.memory_of import memory_of, with_budget
from benchmarks.op.problem import Inputs, Shape, short
from benchmarks.op.programs import Products
from lmhead.ops.products.plan import default_memory_budget
from lmhead.ops.products.workspace import padded_columns

_MIB = 2**20
_SHAPE = Shape(N=4096, D=768, V=131072)
_DEFAULT = default_memory_budget(torch.device("cpu"), _SHAPE.N, _SHAPE.V)
_BUDGETS = (16 * _MIB, 64 * _MIB, None, 512 * _MIB)  # None: nothing is asked for
_ROUNDS = {torch.float32: 2, torch.bfloat16: 5}
_PRODUCTS = "products"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Peak:
    """Beyond the gradients, in bytes."""

    allocator: int
    process: int
    accumulator: int  # of the allocator's: the float32 sum of a 16-bit head's gradient, 0 where there was none

    @staticmethod
    def of(memory: Memory, inputs: Inputs) -> "_Peak":
        """The accumulator: as large as the weight in float32, rows padded as the workspace pads; or as the states."""
        V, D = inputs.weight.shape
        of_weight, of_states = V * padded_columns(D, torch.float32) * 4, inputs.hidden.numel() * 4
        found = [size for size in (of_weight, of_states) if size in memory.largest]
        accumulator = found[0] if found and inputs.weight.element_size() < 4 else 0
        given = inputs.gradient_bytes()
        return _Peak(allocator=memory.allocator - given, process=memory.process - given, accumulator=accumulator)

    @property
    def budgeted(self) -> int:
        """What the budget is for."""
        return self.allocator - self.accumulator


def measure(dtype: torch.dtype, *, quick: bool) -> Report:
    """Peak and time for each budget."""
    shape, scale = (_SHAPE.tiny(), 256) if quick else (_SHAPE, 1)
    budgets = {_label(budget): budget and budget // scale for budget in (_BUDGETS[-1:] if quick else _BUDGETS)}
    progress(f"memory, {short(dtype)}: {shape}")
    inputs = Inputs(shape, dtype)
    peaks = {}
    for label, budget in budgets.items():
        progress(f"    peak at {label} MiB")
        peaks[label] = _Peak.of(memory_of("lmhead", shape, dtype, budget=budget), inputs)
    cases = [Case(name=label, run=with_budget(inputs, budget)) for label, budget in budgets.items()]
    baseline = Case(name=_PRODUCTS, run=Products(inputs).three, warm_up=False)
    timings = interleave([baseline, *cases], rounds=2 if quick else _ROUNDS[dtype], label="    ")
    report = _report(peaks, timings, inputs)
    if not quick:
        _goals(report, peaks, timings, inputs)
    return report


def _label(budget: int | None) -> str:
    return f"default ({mib(_DEFAULT)})" if budget is None else mib(budget)


def _report(peaks: dict[str, _Peak], timings: Timings, inputs: Inputs) -> Report:
    dtype = short(inputs.weight.dtype)
    report = Report(
        name=f"op_memory_{dtype}",
        title=f"memory budgets: {inputs.shape}, {dtype}",
        columns=(
            "memory_budget, MiB",
            "x products",
            "extra MiB, allocator",
            "of it accumulator",
            "the rest",
            "extra MiB, process",
        ),
    )
    for label, peak in peaks.items():
        beyond = (peak.allocator, peak.accumulator, peak.budgeted, peak.process)
        report.rows.append((label, f"{timings.ratio(label, _PRODUCTS):.2f}", *map(mib, beyond)))
    logits = inputs.shape.N * inputs.shape.V * 4
    report.notes.append(
        f"The gradients are {mib(inputs.gradient_bytes())} MiB, float32 logits would be {mib(logits)} MiB. "
        f"The products took {timings.median(_PRODUCTS):.2f} s. {timings.note()}"
    )
    report.measured = {
        "seconds": timings.seconds,
        "share_of_cores_taken_by_others": timings.disturbed,
        "gradient_bytes": inputs.gradient_bytes(),
        "bytes_beyond_gradients": {
            label: {"allocator": peak.allocator, "process": peak.process, "accumulator": peak.accumulator}
            for label, peak in peaks.items()
        },
    }
    return report


def _goals(report: Report, peaks: dict[str, _Peak], timings: Timings, inputs: Inputs) -> None:
    tight, small, default, _ = map(_label, _BUDGETS)
    report.goal("extra MiB at the default budget, but for an accumulator", peaks[default].budgeted / _MIB, at_most=256)
    for label, budget in zip(peaks, _BUDGETS, strict=True):
        share = peaks[label].budgeted / (budget or _DEFAULT)
        report.goal(f"memory_budget {label} MiB: share of it that was taken", share, at_most=1.1)
    report.goal(f"memory_budget {small} MiB: times the products", timings.ratio(small, _PRODUCTS), at_most=1.2)
    apart = _apart(inputs, _BUDGETS[0])
    report.goal(f"memory_budget {tight} MiB: loss apart from the default's, nats", apart, at_most=1e-3)


def _apart(inputs: Inputs, budget: int | None) -> float:
    problem = inputs.hidden.detach(), inputs.weight.detach(), inputs.targets
    few = lmhead.linear_cross_entropy(*problem, memory_budget=budget)
    return abs(few.item() - lmhead.linear_cross_entropy(*problem).item())
