"""What a report keeps of a log: of a long one less, and never another thing."""

import json
from typing import Any

import pytest
from tests.browser.run_logs import HEADER, run_lines

from lmhead.errors import InputError
from lmhead.report.run_data import run_data
from lmhead.report.run_record import RunRecord


def taken(lines: list[dict[str, Any]]) -> RunRecord:
    record = RunRecord("run")
    record.take(lines)
    return record


def test_a_run_is_kept_whole() -> None:
    lines = run_lines(steps=300)
    record = taken(lines)
    assert record.header == lines[0]
    assert record.steps.lines == 300
    assert record.last["step"] == 300
    assert [line["step"] for line in record.evaluations] == [100, 200, 300]
    assert len(record.samples) == 6
    assert record.dropped == {"evaluations": 0, "samples": 0}


def test_the_speed_is_measured_over_no_evaluation() -> None:
    lines = [
        {"step": 1, "loss": 1.0, "tokens": 100, "seconds": 1.0},
        {"step": 2, "loss": 1.0, "tokens": 200, "seconds": 2.0},
        {"step": 2, "evaluation": "quick", "nll": 1.0},
        {"step": 3, "loss": 1.0, "tokens": 300, "seconds": 60.0},
        {"step": 4, "loss": 1.0, "tokens": 400, "seconds": 60.01},
        {"step": 5, "loss": 1.0, "tokens": 500, "seconds": 60.5},
    ]
    speeds = taken(lines).steps.buckets().curves["tokens_per_second"]
    assert speeds.count.tolist() == [0, 1, 0, 0, 1]
    assert speeds.mean()[[1, 4]].tolist() == [100.0, 400.0]


def test_a_speed_that_was_logged_is_believed() -> None:
    lines = [{"step": at, "loss": 1.0, "tokens": at, "seconds": float(at), "tokens_per_second": 7.0} for at in (1, 2)]
    assert taken(lines).steps.buckets().curves["tokens_per_second"].mean().tolist() == [7.0, 7.0]


def test_logs_of_statistics_callbacks_are_read() -> None:
    lines = [
        {"step": 1, "loss": 2.5, "rate": 1.0, "tokens": 10, "seconds": 0.5, "accuracy": 0.25, "entropy": 2.0},
        {"step": 2, "loss": 2.0, "grad_norm": 1.5, "rate": 0.5, "tokens": 20, "seconds": 1.0, "accuracy": 0.5},
        {"step": 2, "evaluation": "full", "bits_per_byte": None, "nll": 2.25, "tokens": 9, "bytes": 0, "set": "de"},
    ]
    data = run_data(taken(lines))
    assert data["curves"]["curves"]["grad_norm"]["mean"] == [None, 1.5]
    assert data["curves"]["curves"]["accuracy"]["mean"] == [0.25, 0.5]
    (evaluation,) = data["evaluations"]
    assert evaluation["set"] == "de"
    assert evaluation["figures"] == {"nll": 2.25, "tokens": 9, "bytes": 0}


def test_another_version_is_refused() -> None:
    with pytest.raises(InputError, match="a record must be of version 1, got 2"):
        taken([{**HEADER, "record": 2}])


def test_steps_taken_again_replace_the_earlier_ones() -> None:
    lines = run_lines(steps=200)
    record = taken([*lines, *(line for line in lines if line["step"] > 150)])
    assert record.steps.buckets().axes["step"].tolist() == list(range(1, 201))
    assert [line["step"] for line in record.evaluations] == [100, 200]


@pytest.mark.parametrize("step", [None, "5", 1.5, True, -1, 2**60, [1]])
def test_a_line_without_a_step_is_counted_and_left_out(step: object) -> None:
    record = taken([{"step": step, "loss": 1.0}, {"step": 1, "loss": 1.0}])
    assert (record.strange, record.steps.lines) == (1, 1)


def test_of_thousands_of_evaluations_and_samples_the_page_gets_hundreds() -> None:
    lines: list[dict[str, Any]] = []
    for step in range(1, 5001):
        lines.append({"step": step, "evaluation": "quick", "nll": 2.0 if step != 2513 else 1.0})
        lines.append({"step": step, "sample": "x" * 5000, "prompt": "x"})
    record = taken(lines)
    data = run_data(record)
    assert len(data["evaluations"]) < 800
    assert 2513 in [line["step"] for line in data["evaluations"]]  # the best one
    assert len(data["samples"]) < 48
    assert {data["evaluations"][-1]["step"], data["samples"][-1]["step"]} == {5000}
    assert record.dropped["evaluations"] + len(record.evaluations) == 5000
    assert all(len(line["sample"]) < 4100 for line in data["samples"])


def test_whatever_stands_in_a_log_becomes_json_without_nan() -> None:
    deep: Any = 1
    for _ in range(300):
        deep = {"x": deep}
    lines = [
        {**HEADER, "config": {"lr": float("inf"), "deep": deep, "many": list(range(10_000)), "long": "y" * 10**5}},
        {"step": 1, "loss": float("nan"), "grad_norm": float("inf")},
        {"step": 1, "evaluation": {"odd": 1}, "nll": float("nan"), "classes": {"source": {"a": [float("nan"), 1]}}},
        {"step": 1, "evaluation": "quick", "nll": 1.0, "classes": {"a": "?", "part": {"p": [1, 2, 3], "q": [1, 2]}}},
        {"step": 1, "evaluation": "quick", "nll": 1.0, "classes": {"part": {"q": [1, 2]}}},
        {"step": 1, "sample": ["no", "text"], "prompt": None},
        {"step": 1, "finding": {"code": "x", "message": float("nan")}},
        {"step": 1, "finding": "no finding"},
    ]
    text = json.dumps(run_data(taken(lines)), allow_nan=False)
    assert len(text) < 60_000
    assert json.loads(text)["evaluations"][-1]["classes"] == {"part": {"q": [1, 2]}}
