"""What the most probable tokens of each row cost, beside the same call without them."""

from collections.abc import Callable

import torch
from torch import Tensor

import lmhead
from benchmarks.harness import Case, Report, interleave, progress
from benchmarks.op.problem import HEADLINE, Inputs, short

_ROUNDS = 7
_MOST = 1.3  # times the same call without: what inspecting may cost beside an evaluation


def measure(dtype: torch.dtype, *, quick: bool) -> Report:
    """Each case's time in units of the same call's without top tokens."""
    shape = HEADLINE.tiny() if quick else HEADLINE
    progress(f"top tokens, {short(dtype)}: {shape}")
    programs, beside = _programs(Inputs(shape, dtype))
    timings = interleave(
        [Case(name=name, run=run) for name, run in programs.items()], rounds=2 if quick else _ROUNDS, label="    "
    )
    report = Report(
        name=f"op_top_{short(dtype)}",
        title=f"the most probable tokens of each row: {shape}, {short(dtype)}",
        columns=("", "seconds", "beside", "times that"),
    )
    for name in timings.seconds:
        without = beside[name]
        ratio = None if without is None else timings.ratio(name, without)
        report.rows.append(
            (name, f"{timings.median(name):.3f}", without or "", "" if ratio is None else f"{ratio:.2f}")
        )
        if ratio is not None and not quick:
            report.goal(f"{name}: times {without}", ratio, at_most=_MOST)
    report.measured = {"seconds": timings.seconds, "share_of_cores_taken_by_others": timings.disturbed}
    report.notes.append(timings.note())
    return report


def _programs(inputs: Inputs) -> tuple[dict[str, Callable[[], object]], dict[str, str | None]]:
    """(what runs, beside which other), by name."""

    def loss(*, ranks: bool = False, top_k: int | None = None) -> Tensor:
        return lmhead.linear_cross_entropy(
            inputs.hidden, inputs.weight, inputs.targets, return_stats=True, ranks=ranks, top_k=top_k
        )[0]

    def forward(*, ranks: bool = False, top_k: int | None = None) -> Callable[[], object]:
        return torch.no_grad()(lambda: loss(ranks=ranks, top_k=top_k))

    programs: dict[str, Callable[[], object]] = {
        "forward": forward(),
        "forward, top 1": forward(top_k=1),
        "forward, top 5": forward(top_k=5),
        "forward, top 20": forward(top_k=20),
        "forward and ranks": forward(ranks=True),
        "forward and ranks, top 5": forward(ranks=True, top_k=5),
        "training": lambda: inputs.step(loss),
        "training, top 5": lambda: inputs.step(lambda: loss(top_k=5)),
    }
    return programs, {name: name.split(", ")[0] if ", " in name else None for name in programs}
