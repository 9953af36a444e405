"""A RunRecord -> what the page is given of it, as plain JSON without NaN, cut to what a page can hold."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from lmhead.record.record import Line
from lmhead.report.decimation import BUCKETS, Column
from lmhead.report.run_record import RunRecord

NOT_FINITE: Final = "not_finite"  # the code of the finding with which a run ends whose loss is no number
_DIGITS: Final = 6
_LONGEST_TEXT: Final = 4000  # characters of a sample or of a value
_DEEPEST: Final = 8  # levels of a config
_MOST_VALUES: Final = 2000  # of a config
_MOST_DEPTHS: Final = 64  # of multi-token prediction


def run_data(run: RunRecord, *, runs: int = 1) -> dict[str, Any]:
    """One run for the page; of several runs each with fewer buckets."""
    last = run.evaluations[-1:]
    broken = any(finding.get("code") == NOT_FINITE for finding in run.findings)
    return {
        "name": run.name,
        "lines": run.steps.lines,
        "last": _plain(run.last),
        "steps": _planned(run.header),
        "curves": curve_data(run, runs=runs),
        "sources": run.sources.data(runs=runs),
        "evaluations": [_evaluation(line) for line in run.evaluations],
        "samples": [_sample(line) for line in run.samples],
        "dropped": run.dropped,
        "header": _plain(run.header),
        "events": [_plain(asdict(event)) for event in run.watch.events(broken=broken)],
        "findings": [_plain(finding) for finding in run.findings],
        "whole": any(line.get("evaluation") == "full" for line in last),
    }


def curve_data(run: RunRecord, *, runs: int = 1) -> dict[str, Any]:
    """{"width", "axes": {name: [buckets]}, "curves": {name: {"mean", "low", "high"}}}; of single steps the mean."""
    buckets = run.steps.buckets(max(256, BUCKETS // runs))
    known = {name: curve for name, curve in buckets.curves.items() if curve.count.any()}
    single = buckets.width == 1
    return {
        "width": buckets.width,
        "axes": {name: _rounded(column, 12) for name, column in buckets.axes.items() if np.isfinite(column).any()},
        "curves": {
            name: {"mean": _rounded(curve.mean())}
            | ({} if single else {"low": _rounded(curve.low), "high": _rounded(curve.high)})
            for name, curve in known.items()
        },
    }


def _rounded(column: Column, digits: int = _DIGITS) -> list[Any]:
    """Significant digits; whole numbers without a point; null for none."""
    made: list[Any] = []
    for value in column.tolist():
        if value != value:
            made.append(None)
        elif value == int(value) and abs(value) < 10**digits:
            made.append(int(value))
        else:
            made.append(float(f"{value:.{digits}g}"))
    return made


def _planned(header: Line) -> int | None:
    config = header.get("config")
    steps = config.get("steps") if isinstance(config, Mapping) else None
    return steps if isinstance(steps, int) and steps > 0 else None


def _evaluation(line: Line) -> dict[str, Any]:
    """Its figures that are numbers, its classes that are [nll, tokens], and the figures of its depths."""
    made: dict[str, Any] = {"step": line["step"], "name": _text(line["evaluation"]), "set": _text(line.get("set", ""))}
    made["figures"] = {name: value for name, value in _numbers(line).items() if name != "step"}
    classes = line.get("classes")
    if isinstance(classes, Mapping):
        made["classes"] = {name: kept for name, given in classes.items() if (kept := _classes(given))}
    depths = line.get("depths")
    if isinstance(depths, list):
        made["depths"] = [_numbers(depth) if isinstance(depth, Mapping) else {} for depth in depths[:_MOST_DEPTHS]]
    return made


def _numbers(given: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in given.items() if _is_number(value) and math.isfinite(value)}


def _classes(given: Any) -> dict[str, list[float]]:
    if not isinstance(given, Mapping):
        return {}
    return {
        name: [value[0], value[1]]
        for name, value in given.items()
        if isinstance(value, Sequence)
        and len(value) == 2
        and all(_is_number(each) and math.isfinite(each) for each in value)
    }


def _sample(line: Line) -> dict[str, Any]:
    return {"step": line["step"], "sample": _text(line["sample"]), "prompt": _text(line.get("prompt", ""))}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else str(_plain(value))
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"


def _plain(value: Any) -> Any:
    """The same for JSON: NaN and infinities as their names, what is too long, too deep or too much cut off."""
    budget = [_MOST_VALUES]

    def plain(value: Any, depth: int) -> Any:
        budget[0] -= 1
        if budget[0] < 0 or depth > _DEEPEST:
            return "…"
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if isinstance(value, Mapping):
            return {_text(name): plain(each, depth + 1) for name, each in list(value.items())[:_MOST_VALUES]}
        if isinstance(value, list | tuple):
            return [plain(each, depth + 1) for each in value[:_MOST_VALUES]]
        return _text(value) if isinstance(value, str) else value

    return plain(value, 0)
