"""What asks for less, or for more, than forward and backward of all rows: each beside the baseline that is fair to it.

To add one: a Case in `_programs` and a line in `_BESIDE`, with a goal or without.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import lmhead
from benchmarks.harness import Case, Report, Timings, interleave, progress
from benchmarks.op.problem import HEADLINE, Inputs, short
from benchmarks.op.programs import UPCAST, Products, loss_of, ours

_ROUNDS = 7
_RANK = 16
_IGNORED = 0.9  # of the rows
_ONE, _TWO, _THREE = "one product", "two products", "three products"
_WHOLE = "forward and backward"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Goal:
    """The most times the baseline."""

    float32: float
    bfloat16: float

    def of(self, dtype: torch.dtype) -> float:
        return self.float32 if dtype == torch.float32 else self.bfloat16


_BESIDE: dict[str, tuple[str, _Goal | None]] = {
    _WHOLE: (_THREE, None),
    "forward only": (_ONE, _Goal(float32=1.10, bfloat16=1.30)),
    "forward only, statistics": (_ONE, None),
    "frozen weight": (_TWO, _Goal(float32=1.10, bfloat16=1.20)),
    "statistics": (_WHOLE, _Goal(float32=1.05, bfloat16=1.05)),
    "90 % ignored": (_WHOLE, _Goal(float32=0.15, bfloat16=0.20)),
    "statistics and ranks": (_WHOLE, None),
    "LoRA of rank 16, frozen weight": (_TWO, None),
    "token_logprobs": (_THREE, None),
    "vocabulary_major": (_THREE, None),
    "divergence to a teacher of the same size": (_THREE, None),
    "plain logits, forward only": (_ONE, None),
    "plain logits, frozen weight": (_TWO, None),
}


def measure(dtype: torch.dtype, *, quick: bool) -> Report:
    """Each case's time in units of its baseline's."""
    shape = HEADLINE.tiny() if quick else HEADLINE
    progress(f"cases, {short(dtype)}: {shape}")
    inputs = Inputs(shape, dtype)
    programs = _baselines(inputs) | _programs(inputs)
    cases = [Case(name=name, run=run) for name, run in programs.items()]
    timings = interleave(cases, rounds=2 if quick else _ROUNDS, label="    ")
    return _report(timings, dtype, title=str(shape), quick=quick)


def _baselines(inputs: Inputs) -> dict[str, Callable[[], object]]:
    products = Products(inputs)
    return {_ONE: products.one, _TWO: products.two, _THREE: products.three}


def _programs(inputs: Inputs) -> dict[str, Callable[[], object]]:
    hidden, weight, targets = inputs.hidden, inputs.weight, inputs.targets
    frozen, plain = weight.detach(), loss_of(UPCAST)
    generator = torch.Generator().manual_seed(1)
    ignored = torch.rand(targets.shape, generator=generator) < _IGNORED
    few = targets.masked_fill(ignored, lmhead.IGNORE_INDEX)

    teacher = hidden.detach().flip(0)
    down = torch.randn(_RANK, hidden.shape[1], generator=generator).mul_(0.02).to(weight.dtype).requires_grad_()
    up = torch.zeros(weight.shape[0], _RANK, dtype=weight.dtype, requires_grad=True)
    adapter = lmhead.LowRankAdapter(down=down, up=up)

    def statistics(ranks: bool = False) -> tuple[Tensor, lmhead.TokenStatistics]:
        return lmhead.linear_cross_entropy(hidden, weight, targets, return_stats=True, ranks=ranks)

    def with_adapter() -> Tensor:
        return lmhead.linear_cross_entropy(hidden, frozen, targets, adapter=adapter)

    def by_vocabulary() -> Tensor:
        return lmhead.linear_cross_entropy(hidden, weight, targets, backend="vocabulary_major")

    return {
        _WHOLE: lambda: inputs.step(lambda: ours(hidden, weight, targets)),
        "forward only": torch.no_grad()(lambda: ours(hidden, weight, targets)),
        "forward only, statistics": torch.no_grad()(statistics),
        "frozen weight": lambda: inputs.step(lambda: ours(hidden, frozen, targets)),
        "statistics": lambda: inputs.step(lambda: statistics()[0]),
        "statistics and ranks": lambda: inputs.step(lambda: statistics(ranks=True)[0]),
        "LoRA of rank 16, frozen weight": lambda: inputs.step(with_adapter),
        "token_logprobs": lambda: inputs.step(lambda: lmhead.token_logprobs(hidden, weight, targets).logprobs.sum()),
        "vocabulary_major": lambda: inputs.step(by_vocabulary),
        "divergence to a teacher of the same size": lambda: inputs.step(
            lambda: lmhead.linear_divergence(hidden, weight, teacher, frozen)
        ),
        "90 % ignored": lambda: inputs.step(lambda: ours(hidden, weight, few)),
        "plain logits, forward only": torch.no_grad()(lambda: plain(hidden, weight, targets)),
        "plain logits, frozen weight": lambda: inputs.step(lambda: plain(hidden, frozen, targets)),
    }


def _report(timings: Timings, dtype: torch.dtype, *, title: str, quick: bool) -> Report:
    report = Report(
        name=f"op_cases_{short(dtype)}",
        title=f"less or more than forward and backward: {title}, {short(dtype)}",
        columns=("", "seconds", "beside", "times that"),
    )
    for name in timings.seconds:
        beside, goal = _BESIDE.get(name, ("", None))
        ratio = timings.ratio(name, beside) if beside else None
        cells = ("", "") if ratio is None else (beside, f"{ratio:.2f}")
        report.rows.append((name, f"{timings.median(name):.3f}", *cells))
        if goal is not None and ratio is not None and not quick:
            report.goal(f"{name}: times {beside}", ratio, at_most=goal.of(dtype))
    report.measured = {"seconds": timings.seconds, "share_of_cores_taken_by_others": timings.disturbed}
    report.notes.append(timings.note())
    return report
