"""Training loss by source in a report: exact means over its buckets, bounded whatever a log holds."""

import json
from typing import Any

import numpy as np
import pytest

from lmhead.report.run_data import run_data
from lmhead.report.run_record import RunRecord
from lmhead.report.source_curves import SourceCurves

NAMES = ("web", "books", "code")


def steps(count: int, seed: int = 0) -> list[dict[str, Any]]:
    draw = np.random.default_rng(seed)
    made = []
    for step in range(1, count + 1):
        there = {name: [float(draw.random() * 5), int(draw.integers(1, 900))] for name in NAMES if draw.random() < 0.7}
        made.append({"step": step, "loss": 2.0, "sources": there})
    return made


@pytest.mark.parametrize("count", [3, 700, 5000])
def test_a_bucket_is_the_mean_of_its_tokens(count: int) -> None:
    lines, curves = steps(count), SourceCurves()
    for line in lines:
        curves.add(line)
    made = curves.data()
    assert made is not None
    assert len(made["steps"]) <= 1024
    kept = [line for line in lines if line["sources"]]
    width = -(-len(kept) // len(made["steps"])) if count > 1024 else 1
    width = 1 << (width - 1).bit_length()
    for name, (means, counts) in made["curves"].items():
        for bucket, found in enumerate(means):
            of = [
                line["sources"][name] for line in kept[bucket * width : (bucket + 1) * width] if name in line["sources"]
            ]
            tokens = sum(each for _, each in of)
            assert counts[bucket] == tokens
            assert found == (pytest.approx(sum(a * b for a, b in of) / tokens, rel=1e-5) if tokens else None)
        total = sum(line["sources"].get(name, [0, 0])[1] for line in lines)
        assert made["table"][name][0] == total


def test_a_log_without_sources_has_none_and_its_other_curves_are_as_before() -> None:
    record = RunRecord("old")
    record.take([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}])
    assert run_data(record)["sources"] is None
    record = RunRecord("new")
    record.take(steps(40))
    made = run_data(record)
    assert set(made["curves"]["curves"]) == {"loss"}
    assert set(made["sources"]["table"]) == set(NAMES)


def test_steps_that_are_taken_again_count_once() -> None:
    lines = steps(30)
    once, twice = RunRecord("a"), RunRecord("b")
    once.take(lines)
    twice.take([*lines[:20], *lines[10:]])
    assert once.sources.data() == twice.sources.data()


def test_a_dozen_are_drawn_and_no_number_of_names_makes_a_page_grow() -> None:
    curves = SourceCurves()
    for step in range(1, 1000):
        curves.add({"step": step, "sources": {f"s{step % 500}": [1.0, 1 + step % 500]}})
    made = curves.data()
    assert made is not None
    assert len(made["curves"]) == 12
    assert len(made["table"]) == 64
    assert len(json.dumps(made)) < 300_000


@pytest.mark.parametrize(
    "value",
    [None, 3, [1.0], [1.0, 2, 3], ["1", 2], [1.0, -1], [1.0, 2.5], [float("nan"), 3], [True, 3], [1.0, 2**60], {}],
)
def test_what_is_no_mean_is_passed_over(value: Any) -> None:
    curves = SourceCurves()
    curves.add({"step": 1, "sources": {"bad": value, "good": [2.0, 4]}})
    made = curves.data()
    assert made is not None
    assert made["table"] == {"good": [4, 2.0, 2.0]}
