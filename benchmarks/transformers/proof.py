"""What `lmhead.patch` costs: seconds of the whole, and the shares of its parts."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest import mock

import lmhead
from benchmarks.harness import Report, progress
from benchmarks.transformers.models import Size, build
from benchmarks.transformers.programs import versions
from lmhead.models.transformers.patching import probe, proof

_GOAL = 0.2  # seconds
_ROUNDS = 5
_USUAL = (
    Size(family="llama", D=256, layers=4, V=32000, rows=1, length=8),
    Size(family="gemma2", D=256, layers=4, V=128256, rows=1, length=8),
    Size(family="qwen3", D=512, layers=8, V=151936, rows=1, length=8),
    Size(family="gpt2", D=768, layers=12, V=50257, rows=1, length=8),
)
_LARGE = Size(family="qwen3", D=896, layers=24, V=151936, rows=1, length=8)  # as Qwen 0.5B: no goal
_FORWARDS, _BELOW, _REST = "forwards", "below the head", "the rest"
_PARTS = (_BELOW, "head and loss", "gradients", "comparing", _REST)


def measure(*, quick: bool) -> Report:
    """Median seconds of `lmhead.patch`, with the parts' shares of it."""
    report = Report(
        name="transformers_proof",
        title="lmhead.patch, float32",
        columns=("model", "parameters, M", "seconds", *(f"{part}, %" for part in _PARTS)),
    )
    slowest = 0.0
    for size in [size.tiny() for size in _USUAL] if quick else [*_USUAL, _LARGE]:
        progress(f"proof: {size}")
        model = build(size)
        seconds, spent = _cost(model, rounds=1 if quick else _ROUNDS)
        name, parameters = str(size).rpartition(",")[0], sum(parameter.numel() for parameter in model.parameters())
        shares = [f"{100 * spent[part] / seconds:.0f}" for part in _PARTS]
        report.rows.append((name, f"{parameters / 1e6:.0f}", f"{seconds:.3f}", *shares))
        report.measured[name] = {"seconds": seconds, "of_parts": spent, "parameters": parameters}
        if size is not _LARGE:
            slowest = max(slowest, seconds)
        del model
    report.measured["versions"] = versions()
    if not quick:
        report.goal("seconds, the slowest but for the last", slowest, at_most=_GOAL)
    return report


def _cost(model: Any, *, rounds: int) -> tuple[float, dict[str, float]]:
    """(seconds, of them in each part) of the median round; a first round is not counted."""
    found: list[tuple[float, dict[str, float]]] = []
    for _ in range(rounds + 1):
        clocks = _Clocks()
        with ExitStack() as stack:
            clocks.put(stack, _FORWARDS, probe.Probe, "_loss")
            clocks.put(stack, _BELOW, model.base_model, "forward")
            clocks.put(stack, "gradients", probe.Probe, "_gradients")
            clocks.put(stack, "comparing", proof, "_require_same_gradients")
            start = time.perf_counter()
            lmhead.patch(model)
            found.append((time.perf_counter() - start, clocks.spent))
            lmhead.unpatch(model)
    seconds, spent = sorted(found[1:], key=lambda each: each[0])[rounds // 2]
    spent["head and loss"] = spent.pop(_FORWARDS) - spent[_BELOW]
    spent[_REST] = seconds - sum(spent.values())
    return seconds, spent


class _Clocks:
    """Seconds spent in functions, by the name of a part."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def put(self, stack: ExitStack, part: str, owner: Any, name: str) -> None:
        """Count what `owner.name` takes, until the stack is left."""
        self.spent[part] = 0.0
        stack.enter_context(mock.patch.object(owner, name, self._timed(part, getattr(owner, name))))

    def _timed(self, part: str, run: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return run(*args, **kwargs)
            finally:
                self.spent[part] += time.perf_counter() - start

        return timed
