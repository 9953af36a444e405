"""Time and memory of a training step: forward and backward of model and loss, everybody in turn in one process.

Memory is the allocator's peak beyond the gradients: all tensors that a step makes, and the buffers that this library
keeps for the next one.
"""

from dataclasses import dataclass
from functools import partial
from typing import Final

import torch

import lmhead
from benchmarks.harness import Case, Report, Timings, allocator_peak, interleave, mib, progress
from benchmarks.op.problem import DTYPES
from benchmarks.transformers.models import Size, batch, build
from benchmarks.transformers.programs import LIGER, OURS, STOCK, TRL, gradient_bytes, refusal, step_of, versions

SIZES = (
    Size(family="llama", D=256, layers=4, V=32000, rows=2, length=256),
    Size(family="gpt2", D=768, layers=12, V=50257, rows=1, length=512),
    Size(family="gemma2", D=256, layers=4, V=128256, rows=2, length=512),
    Size(family="qwen3", D=256, layers=4, V=151936, rows=4, length=512),
)
WHO = (STOCK, OURS, TRL, LIGER)
_ROUNDS: Final = 3
_MANY: Final = 2**28  # logits: two rounds
_SHARES = {"all": 1.0, "a quarter": 0.25, "none": 0.0}  # of the tokens, that are scored
_SLOWER: Final = 1.03  # times stock, at most
_PROPORTION: Final = 0.30  # of the head's time, where a quarter of the tokens is scored


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Of one model in one dtype."""

    timings: Timings
    peaks: dict[str, int]  # bytes beyond the gradients, of who ran
    refused: dict[str, str]

    def ratio(self, name: str, scored: str = "all") -> float:
        """Times stock with all tokens scored."""
        return self.timings.ratio(_case(name, scored), _case(STOCK, "all"))

    def left(self) -> float:
        """The part of the patched head's time that stays where a quarter of the tokens is scored."""
        none = self.ratio(OURS, "none")
        return (self.ratio(OURS, "a quarter") - none) / (self.ratio(OURS) - none)


def measure(*, quick: bool) -> Report:
    """Ratios to stock's time, and peaks."""
    report = Report(
        name="transformers_steps",
        title="a training step, in units of stock's with all tokens scored",
        columns=(
            "model",
            "stock, seconds",
            "lmhead.patch",
            "TRL",
            "stock, a quarter scored",
            "lmhead.patch, a quarter",
            "lmhead.patch, none",
            "MiB beyond gradients: stock",
            "lmhead.patch",
            "TRL",
        ),
    )
    found: dict[str, Found] = {}
    for size in [size.tiny() for size in SIZES] if quick else SIZES:
        for name, dtype in DTYPES.items():
            title = f"{size}, {name}"
            progress(title)
            rounds = 1 if quick else _ROUNDS - (size.tokens * size.V > _MANY)
            found[title] = _compare(size, dtype, rounds=rounds)
            report.rows.append((title, *_cells(found[title])))
    _note(report, found)
    if not quick:
        _goals(report, found)
    return report


def _compare(size: Size, dtype: torch.dtype, *, rounds: int) -> Found:
    model, few, whole = build(size, dtype), batch(size.short()), batch(size)
    cases: list[Case] = []
    peaks: dict[str, int] = {}
    refused: dict[str, str] = {}
    for name in WHO:
        said = refusal(name, model, few)
        if said is not None:
            refused[name] = said
            continue
        step = step_of(name, model)
        step(few)  # threads are started, programs compiled
        lmhead.release_workspace()
        peaks[name] = allocator_peak(partial(step, whole))[0] - gradient_bytes(model)
        for scored, share in _SHARES.items():
            if scored == "all" or (name in (STOCK, OURS) and (name, scored) != (STOCK, "none")):
                run = partial(step, batch(size, scored=share))
                most = 1 if name == TRL else None
                cases.append(Case(name=_case(name, scored), run=run, most_rounds=most, warm_up=False))
    timings = interleave(cases, rounds=rounds, warm_up=0, label="    ")
    return Found(timings=timings, peaks=peaks, refused=refused)


def _case(name: str, scored: str) -> str:
    return f"{name}, {scored} scored"


def _cells(found: Found) -> list[str]:
    trl = TRL in found.peaks
    return [
        f"{found.timings.median(_case(STOCK, 'all')):.3f}",
        f"{found.ratio(OURS):.2f}",
        f"{found.ratio(TRL):.2f}" if trl else "",
        f"{found.ratio(STOCK, 'a quarter'):.2f}",
        f"{found.ratio(OURS, 'a quarter'):.2f}",
        f"{found.ratio(OURS, 'none'):.2f}",
        mib(found.peaks[STOCK]),
        mib(found.peaks[OURS]),
        mib(found.peaks[TRL]) if trl else "",
    ]


def _note(report: Report, found: dict[str, Found]) -> None:
    refusals = {f"{name} ({why})" for each in found.values() for name, why in each.refused.items()}
    if refusals:
        report.notes.append("Does not run here: " + "; ".join(sorted(refusals)) + ".")
    report.notes.append(", ".join(f"{package} {version}" for package, version in versions().items()) + ".")
    worst = max(each.timings.most_disturbed() for each in found.values())
    report.notes.append(f"Other processes took at most {worst:.0%} of the cores' time in a measurement that counts.")
    report.measured = {
        title: {
            "seconds": each.timings.seconds,
            "share_of_cores_taken_by_others": each.timings.disturbed,
            "bytes_beyond_gradients": each.peaks,
            "refused": each.refused,
        }
        for title, each in found.items()
    }
    report.measured["versions"] = versions()


def _goals(report: Report, found: dict[str, Found]) -> None:
    slowest = max(found.values(), key=lambda each: each.ratio(OURS))
    report.goal("time by stock's, the slowest", slowest.ratio(OURS), at_most=_SLOWER)
    left = max(each.left() for each in found.values())
    report.goal("the head's time with a quarter scored, by that with all, the most", left, at_most=_PROPORTION)
