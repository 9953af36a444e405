"""A record is read whole, or what can be read of it, with one line about the rest; another version is refused."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.record.rows import LINES, ROW

from lmhead.errors import InputError
from lmhead.record.record import Record, kind_of, read_record
from lmhead.record.vocabulary import Piece


def written(path: Path, *lines: object, end: str = "\n") -> Path:
    file = path / "log.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + end)
    return file


def refusal(file: Path) -> str:
    with pytest.raises(InputError) as refused:
        read_record(file)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_every_kind_of_line_is_found_by_its_key(tmp_path: Path) -> None:
    record = read_record(written(tmp_path, *LINES))
    assert record.header == LINES[0]
    assert (record.steps, record.evaluations, record.samples) == ([LINES[1]], [LINES[2]], [LINES[3]])
    assert [row.ids.tolist() for row in record.rows] == [ROW["ids"]]
    assert record.vocabulary == {
        5: Piece(kind="text", text="The"),
        6: Piece(kind="bytes", text="e29c"),
        7: Piece(kind="control", text="<|im_end|>"),
    }
    assert record.findings == [LINES[7]["finding"]]
    assert record.damage is None
    assert kind_of(LINES[8]) == "other"


def test_a_log_without_a_header_is_read(tmp_path: Path) -> None:
    record = read_record(written(tmp_path, *LINES[1:4]))
    assert (record.header, len(record.steps), record.damage) == ({}, 1, None)


def test_an_empty_file_is_an_empty_record(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("")
    assert read_record(tmp_path / "log.jsonl") == Record()


@pytest.mark.parametrize("version", [0, 2, "1", 1.0, True, None, [], "\x1b[2J"])
def test_another_version_is_one_line(tmp_path: Path, version: object) -> None:
    file = written(tmp_path, {**LINES[0], "record": version}, *LINES[1:])
    said = refusal(file)
    assert said.startswith("a record must be of version 1, got ")
    assert said.endswith(": read it with the lmhead that wrote it (lmhead 0.1.0)")
    assert "\x1b" not in said


def test_a_line_that_was_cut_off_is_left_out_and_told(tmp_path: Path) -> None:
    for kept in range(1, len(json.dumps(LINES[1])) - 1):
        record = read_record(written(tmp_path, *LINES, json.dumps(LINES[1])[:kept], end=""))
        assert len(record.steps) == 1
        assert record.damage == "log.jsonl: its last line, line 10, is cut off; the others are shown"


def test_a_last_line_without_its_end_is_whole_where_it_is_json(tmp_path: Path) -> None:
    record = read_record(written(tmp_path, *LINES, end=""))
    assert (len(record.rows), record.damage) == (1, None)


def test_a_record_that_is_cut_off_in_its_first_line_is_empty(tmp_path: Path) -> None:
    record = read_record(written(tmp_path, '{"record": 1, "ti', end=""))
    assert record == Record(damage="log.jsonl: its last line, line 1, is cut off; the others are shown")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"step": 1, "loss"', "is no JSON"),
        ("", "is no JSON"),
        ("\x00\x00\x00", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ('{"step": 1, "loss": ' + "9" * 5000 + "}", "is no JSON"),
        ("[1, 2]", "is no object"),
        ("null", "is no object"),
        ({"loss": 1.0}, "\"step\" must be in a line of this kind (step), got 'loss'"),
        ({"step": "1", "loss": 1.0}, "\"step\" must be a count, got '1'"),
        ({"step": True, "loss": 1.0}, '"step" must be a count, got true'),
        ({"step": -1, "loss": 1.0}, '"step" must be a count, got -1'),
        ({"step": 2**53, "loss": 1.0}, f'"step" must be a count, got {2**53}'),
        ({"step": 1, "loss": "1"}, "\"loss\" must be a number or null, got '1'"),
        ({"step": 1, "loss": 10**400}, '"loss" must be a number or null, got 1000'),
        ({"step": 1, "loss": 1.0, "tokens": 1.5}, '"tokens" must be a count or null, got 1.5'),
        ({"step": 1, "evaluation": 5}, '"evaluation" must be a text, got 5'),
        ({"step": 1, "evaluation": "full", "nll": []}, '"nll" must be a number or null, got a list'),
        ({"step": 1, "evaluation": "full", "classes": []}, '"classes" must be an object, got a list'),
        ({"step": 1, "sample": ["x"]}, '"sample" must be a text, got a list'),
        ({"step": 1, "sample": "x", "prompt": 3}, '"prompt" must be a text, got 3'),
        ({"record": 1, "notes": "careful"}, "\"notes\" must be a list of texts, got 'careful'"),
        ({"record": 1, "config": [1]}, '"config" must be an object, got a list'),
        ('{"record": 1, "tokenizer": {"vocab_size": NaN}}', '"tokenizer" must be an object without NaN'),
        ('{"finding": {"code": "c", "severity": "info", "message": "", "x": NaN}}', "a finding must be without NaN"),
        ({"finding": "bad"}, '"finding" must be an object'),
        ({"finding": {"code": "c"}}, "\"severity\" must be in a line of this kind (finding), got 'code'"),
        ({"finding": {"code": "c", "severity": "x", "message": ""}}, '"severity" must be error, warning or info'),
        ({"vocabulary": ["The"]}, '"vocabulary" must be an object, got a list'),
        ({"vocabulary": {"x": "The"}}, "an id of a vocabulary must be a count in digits, got 'x'"),
        ({"vocabulary": {"--1": "The"}}, "an id of a vocabulary must be a count in digits, got '--1'"),
        ({"vocabulary": {"\u0661": "The"}}, "an id of a vocabulary must be a count in digits"),
        ({"vocabulary": {"9" * 5000: "The"}}, "an id of a vocabulary must be a count in digits"),
        ({"vocabulary": {"1": {"bytes": "xy"}}}, "a piece of a vocabulary must be a text, "),
        ({"vocabulary": {"1": 5}}, "a piece of a vocabulary must be a text, "),
        ({"ids": [1]}, "a row of a record must have \"targets\", got 'ids'"),
        ({**ROW, "ids": "abcd"}, '"ids" of a row of a record must be a list of whole numbers'),
    ],
)
def test_a_line_that_is_wrong_is_left_out_and_told(tmp_path: Path, line: object, fault: str) -> None:
    record = read_record(written(tmp_path, *LINES, line, *LINES[1:4]))
    assert record.damage is not None
    assert record.damage.startswith(f"log.jsonl: line 10 cannot be used ({fault}")
    assert record.damage.endswith("); the others are shown")
    assert (record.header, len(record.steps), len(record.rows)) == (LINES[0], 2, 1)
    assert len(record.damage) < 400


def test_of_several_wrong_lines_the_first_is_told(tmp_path: Path) -> None:
    record = read_record(written(tmp_path, LINES[0], "x", LINES[1], {"loss": 1}, '{"st', end=""))
    assert record.damage == (
        "log.jsonl: 3 of its 5 lines, first line 2, cannot be used (is no JSON); the others are shown"
    )


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n", b"just\ntext\n", b"5\n", b"\xff\xfe\x00\n", b"\n\n"])
def test_a_file_that_is_something_else_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    assert refusal(tmp_path / "a").startswith(f"{tmp_path / 'a'} must be a record, JSON lines; of its ")


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == f"cannot read {tmp_path / 'none'}: No such file or directory"
    assert refusal(tmp_path) == f"cannot read {tmp_path}: Is a directory"


def test_a_loss_that_is_not_finite_is_kept(tmp_path: Path) -> None:
    losses = (math.nan, math.inf, None)
    lines = [{"step": step, "loss": loss, "grad_norm": -math.inf} for step, loss in enumerate(losses)]
    record = read_record(written(tmp_path, *lines))
    assert record.damage is None
    assert [str(step["loss"]) for step in record.steps] == ["nan", "inf", "None"]


def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    text = "\r\n".join(map(json.dumps, LINES)) + "\r\n"
    (tmp_path / "log.jsonl").write_bytes(b"\xef\xbb\xbf" + text.encode())
    record = read_record(tmp_path / "log.jsonl")
    assert (record.damage, record.header["title"], len(record.steps)) == (None, "a run", 1)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
NAMES = sorted({name for line in LINES for name in line} | {"against", "tokenizer", "notes"})


@given(line=st.sampled_from(LINES), name=st.sampled_from(NAMES), value=VALUES)
def test_whatever_stands_in_a_field_nothing_but_an_input_error_comes_of_it(
    line: dict[str, Any], name: str, value: object
) -> None:
    """And what was taken can be written again: a page does that."""
    try:
        record = Record.of_lines([*LINES, {**line, name: value}])
    except InputError:
        return
    for row in record.rows:
        json.dumps(row.line(), allow_nan=False)
    json.dumps(record.findings, allow_nan=False)
