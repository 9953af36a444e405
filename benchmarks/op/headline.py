"""Every peer on one problem: time and memory, forward and backward."""

import gc
import math
import time
from collections.abc import Callable

import torch

from benchmarks.harness import Case, Memory, Report, Timings, interleave, mib, progress
from benchmarks.op.memory_of import memory_of
from benchmarks.op.problem import HEADLINE, Inputs, Shape, short
from benchmarks.op.programs import KEPT, OURS, Products, program
from benchmarks.peers import UnavailableError, one_line, peers

_ROUNDS = 5
_SLOW = 3.0  # times ours: such a peer runs in two rounds
_FRESH = "products, fresh"


def measure(dtype: torch.dtype, *, quick: bool) -> Report:
    """Ratios to the products and to lmhead, extra memory, and who cannot be had."""
    shape = HEADLINE.tiny() if quick else HEADLINE
    progress(f"peers, {short(dtype)}: {shape}")
    torch.compiler.reset()
    inputs = Inputs(shape, dtype)
    cases, refused = _cases(inputs, quick=quick)
    timings = interleave(cases, rounds=2 if quick else _ROUNDS, warm_up=0, label="    ")
    names = [case.name for case in cases if case.name != _FRESH]
    gradients = inputs.gradient_bytes()
    del inputs, cases
    gc.collect()
    memory = {} if quick else {name: _memory(name, shape, dtype) for name in names}
    report = _report(timings, memory, gradients, shape, dtype)
    if refused:
        report.notes.append("Not run: " + "; ".join(f"{name} ({why})" for name, why in refused.items()) + ".")
    if not quick:
        for peer in (name for name in names if name not in (OURS, KEPT)):
            report.goal(f"speed against: {peer}", timings.ratio(peer, OURS), at_least=1.0)
    return report


def _cases(inputs: Inputs, *, quick: bool) -> tuple[list[Case], dict[str, str]]:
    """Who runs, warmed up (compiled, where it compiles), and why others do not."""
    products = Products(inputs)
    cases = [Case(name=_FRESH, run=products.three), Case(name=KEPT, run=products.three_kept())]
    refused: dict[str, str] = {}
    patience = math.inf  # seconds
    for name in (OURS, *peers()):
        progress(f"    warm-up of {name}")
        try:
            _require_timeable(name, quick=quick)
            run = program(name, inputs)
            took = _second_run(run)
        except Exception as error:
            if name == OURS:
                raise
            refused[name] = str(error) if isinstance(error, UnavailableError) else one_line(error)
            continue
        patience = _SLOW * took if name == OURS else patience
        cases.append(Case(name=name, run=run, most_rounds=2 if took > patience else None))
    return cases, refused


def _require_timeable(name: str, *, quick: bool) -> None:
    peer = peers().get(name)
    if peer is not None and peer.interpreted:
        raise UnavailableError("a GPU's kernels, here in Triton's interpreter: not to be timed")
    if peer is not None and peer.compiled and quick:
        raise UnavailableError("compiling is not quick")


def _second_run(run: Callable[[], object]) -> float:
    run()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _memory(name: str, shape: Shape, dtype: torch.dtype) -> Memory:
    progress(f"    memory of {name}")
    return memory_of(name, shape, dtype)


def _report(timings: Timings, memory: dict[str, Memory], gradients: int, shape: Shape, dtype: torch.dtype) -> Report:
    report = Report(
        name=f"op_peers_{short(dtype)}",
        title=f"forward and backward, {shape}, {short(dtype)}",
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
    for name in timings.seconds:
        peak, given = memory.get(name), 0 if name == KEPT else gradients  # its gradients were there before
        report.rows.append(
            (
                name,
                f"{timings.median(name):.3f}",
                f"{timings.ratio(name, _FRESH):.2f}",
                f"{timings.ratio(name, KEPT):.2f}",
                "" if name == OURS else f"{timings.ratio(name, OURS):.2f}",
                "" if peak is None else mib(peak.allocator - given),
                "" if peak is None else mib(peak.process - given),
            )
        )
    report.measured = {
        "seconds": timings.seconds,
        "share_of_cores_taken_by_others": timings.disturbed,
        "gradient_bytes": gradients,
        "peak_bytes": {name: [peak.allocator, peak.process] for name, peak in memory.items()},
        "versions": {name: peer.version() for name, peer in peers().items()},
    }
    report.notes.append(timings.note())
    return report
