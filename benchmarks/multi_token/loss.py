"""The loss of D depths: beside full logits and the classic interface, beside the main head alone, and its memory."""

from benchmarks.harness import Case, Report, interleave, mib, progress
from benchmarks.multi_token.memory_of import memory_of
from benchmarks.multi_token.problem import CLASSIC, FUSED, MAIN, PLAIN, Inputs, Shape, program

_MIB = 2**20
_DEPTHS = (1, 2, 3, 4)
_BESIDE = Shape(B=2, T=512, D=512, V=32768)
_HEAD = Shape(B=4, T=512, D=512, V=32768)
_LARGE = Shape(B=4, T=512, D=128, V=131072)
_SMALL_BUDGET = 32 * _MIB


def beside_logits(*, quick: bool) -> Report:
    """Time and peak memory of three ways to the same loss, D = 1..4."""
    shape = _BESIDE.tiny() if quick else _BESIDE
    report = Report(
        name="multi_token_depths",
        title=f"the loss of D further tokens, forward and backward: {shape}, float32",
        columns=(
            "D", "lmhead, seconds", *(f"x lmhead, {name}" for name in (PLAIN, CLASSIC)),
            *(f"extra MiB, {name}" for name in (FUSED, PLAIN, CLASSIC)),
        ),
        notes=["Extra MiB: the allocator's peak beyond hidden states, weight and their gradients, in a fresh process."],
    )  # fmt: skip
    for depth in _DEPTHS[: 1 if quick else None]:
        inputs = Inputs(shape, depth)
        cases = [Case(name=name, run=program(name, inputs)) for name in (FUSED, PLAIN, CLASSIC)]
        timings = interleave(cases, rounds=1 if quick else 5, label=f"depths, D = {depth}: ")
        extra = {name: _extra(name, shape, depth) for name in (FUSED, PLAIN, CLASSIC)}
        ratios = {name: timings.ratio(name, FUSED) for name in (PLAIN, CLASSIC)}
        report.rows.append(
            (
                str(depth),
                f"{timings.median(FUSED):.3f}",
                *(f"{ratio:.2f}" for ratio in ratios.values()),
                *(mib(bytes_) for bytes_ in extra.values()),
            )
        )
        report.measured[f"D {depth}"] = {"seconds": timings.seconds, "extra_bytes": extra}
        for name, ratio in ratios.items():
            report.goal(f"D {depth}: speed against {name}", ratio, at_least=1.0)
            report.goal(f"D {depth}: memory of {name}, times ours", extra[name] / max(extra[FUSED], 1), at_least=1.0)
    return report


def head_part(*, quick: bool) -> Report:
    """What the rows of the depths add to the main head's time, in units of what rows cost there."""
    shape = _HEAD.tiny() if quick else _HEAD
    report = Report(
        name="multi_token_head",
        title=f"the head's part of D further tokens: {shape}, float32",
        columns=("D", "main head, seconds", "with D depths, x main", "rows of depths / rows of main", "part / rows"),
        notes=["Part: the time with D depths less the main head's alone (which gives statistics, too), by the latter."],
    )
    for depth in _DEPTHS[: 1 if quick else None]:
        inputs = Inputs(shape, depth)
        cases = [Case(name=name, run=program(name, inputs)) for name in (MAIN, FUSED)]
        timings = interleave(cases, rounds=1 if quick else 7, label=f"head, D = {depth}: ")
        times = timings.ratio(FUSED, MAIN)
        rows = sum(shape.rows(k) for k in range(1, 1 + depth)) / shape.rows(0)
        part = (times - 1) / rows
        report.rows.append((str(depth), f"{timings.median(MAIN):.3f}", f"{times:.3f}", f"{rows:.3f}", f"{part:.3f}"))
        report.measured[f"D {depth}"] = {"seconds": timings.seconds, "rows": rows, "part": part}
        report.goal(f"D {depth}: the head's part by its rows", part, at_most=1.05)
    return report


def large_vocabulary(*, quick: bool) -> Report:
    """Extra memory at V 128k, where the logits of one depth are 1 GiB."""
    shape = _LARGE.tiny() if quick else _LARGE
    report = Report(
        name="multi_token_memory",
        title=f"memory of the loss of D further tokens: {shape}, float32",
        columns=(
            "D", "logits avoided, MiB", "extra MiB, default budget", "more than the main head's",
            f"extra MiB, memory_budget of {mib(_SMALL_BUDGET)} MiB", "its time, x default",
        ),
        notes=["Extra MiB: the allocator's peak beyond hidden states, weight and their gradients, in a fresh process."],
    )  # fmt: skip
    for depth in _DEPTHS[: 1 if quick else None]:
        progress(f"memory, D = {depth}")
        default, main = (_extra(name, shape, depth, read=name == FUSED) for name in (FUSED, MAIN))
        small = _extra(FUSED, shape, depth, budget=_SMALL_BUDGET)
        inputs = Inputs(shape, depth)
        cases = [
            Case(name=name, run=program(FUSED, inputs, budget))
            for name, budget in (("default", None), ("small", _SMALL_BUDGET))
        ]
        timings = interleave(cases, rounds=1 if quick else 2, label=f"memory, D = {depth}: ")
        logits = sum(shape.rows(k) for k in range(1 + depth)) * shape.V * 4
        times = timings.ratio("small", "default")
        report.rows.append((str(depth), mib(logits), mib(default), mib(default - main), mib(small), f"{times:.2f}"))
        report.measured[f"D {depth}"] = {"default": default, "main": main, "small": small, "times": times}
        report.goal(f"D {depth}: extra MiB with a budget of {mib(_SMALL_BUDGET)}", small / _MIB, at_most=64)
        report.goal(f"D {depth}: extra MiB beyond the main head's, default budget", (default - main) / _MIB, at_most=64)
    return report


def _extra(name: str, shape: Shape, depth: int, *, budget: int | None = None, read: bool = True) -> int:
    """Peak bytes of the allocator beyond the gradients.

    Args:
        read: the depths' hidden states are, and have gradients; the main head reads its own alone.
    """
    inputs_bytes = (1 + depth if read else 1) * shape.B * shape.T * shape.D * 4 + shape.V * shape.D * 4
    return memory_of(name, shape, depth, budget=budget).allocator - inputs_bytes
