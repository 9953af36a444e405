"""Rows that say whether they are good answers, as data for KTO do: what is bad is not learnt, and counted."""

import json
from pathlib import Path

import pytest
from tests.data.labelling.recipes import recipe

from lmhead.data.formats.formats import Samples, read_samples
from lmhead.data.labelling.label_files import label_files
from lmhead.errors import InputError

ASKED = {"role": "user", "content": "Hi"}
SAID = {"role": "assistant", "content": "Hello"}
ROWS = {
    "prompt and completion": {"prompt": "Hi", "completion": "Hello"},
    "messages in both": {"prompt": [ASKED], "completion": [SAID]},
    "messages": {"messages": [ASKED, SAID]},
    "sharegpt": {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
    "alpaca": {"instruction": "Hi", "output": "Hello"},
}


def read(path: Path, *rows: object) -> Samples:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return read_samples([str(path)])


@pytest.mark.parametrize("form", ROWS)
@pytest.mark.parametrize("mark", ["label", "kto_tag"])
def test_a_row_that_is_marked_as_bad_is_left_out_and_counted(tmp_path: Path, form: str, mark: str) -> None:
    path = tmp_path / "a.jsonl"
    samples = read(
        path, {**ROWS[form], mark: False}, {**ROWS[form], mark: True}, {**ROWS[form], mark: None}, ROWS[form]
    )
    assert [sample.place.number for sample in samples] == [2, 3, 4]
    assert list(samples.reading.lines()) == [f"left out: row whose {mark} is false 1 ({path}, line 1)"]
    assert not samples.unread.columns
    data = label_files([str(path)], recipe())
    assert [row.place.number for row in data] == [2, 3, 4]
    assert data.told == tuple(samples.reading.lines())


@pytest.mark.parametrize("value", [0, 1, "false", "good", 0.5, [False]])
@pytest.mark.parametrize("form", ["prompt and completion", "messages in both"])
def test_beside_prompt_and_completion_any_other_label_is_refused(tmp_path: Path, form: str, value: object) -> None:
    with pytest.raises(InputError, match="line 1: label must be true or false, where it marks answers, got"):
        list(read(tmp_path / "a.jsonl", {**ROWS[form], "label": value}))


@pytest.mark.parametrize("form", ["messages", "sharegpt", "alpaca"])
def test_beside_anything_else_a_label_that_is_no_mark_is_a_column_that_is_not_read(tmp_path: Path, form: str) -> None:
    samples = read(tmp_path / "a.jsonl", {**ROWS[form], "label": "sports"}, {**ROWS[form], "label": 0})
    assert len(list(samples)) == 2
    assert samples.unread.columns == {"label": 2}
    with pytest.raises(InputError, match="kto_tag must be true or false"):
        list(read(tmp_path / "a.jsonl", {**ROWS[form], "kto_tag": "no"}))


def test_a_text_has_no_mark(tmp_path: Path) -> None:
    samples = read(tmp_path / "a.jsonl", {"text": "a", "label": False}, {"text": "b", "label": True})
    assert len(list(samples)) == 2
    assert samples.unread.columns == {"label": 2}


def test_data_of_bad_answers_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 1: label must be true in some row, got false in all"):
        list(read(tmp_path / "a.jsonl", {**ROWS["messages"], "label": False}))


@pytest.mark.parametrize("form", ROWS)
@pytest.mark.parametrize(
    ("flag", "no", "yes", "shown"),
    [
        ("train", False, True, "false"),
        ("loss", False, True, "false"),
        ("loss_mask", 0, 1, "0"),
        ("weight", 0, 1, "0"),
        ("loss_scale", 0.0, 1.0, "0.0"),
        ("masked", True, False, "true"),
        ("mask", True, False, "true"),
    ],
)
def test_a_flag_beside_a_conversation_speaks_of_the_whole_row(
    tmp_path: Path, form: str, flag: str, no: object, yes: object, shown: str
) -> None:
    path = tmp_path / "a.jsonl"
    samples = read(path, {**ROWS[form], flag: no}, {**ROWS[form], flag: yes}, ROWS[form])
    assert [sample.place.number for sample in samples] == [2, 3]
    assert list(samples.reading.lines()) == [f"left out: row whose {flag} is {shown} 1 ({path}, line 1)"]
    assert not samples.unread.columns
    with pytest.raises(InputError, match=f"line 1: {flag} must be .* in some row, got {shown} in all"):
        list(read(path, {**ROWS[form], flag: no}))


@pytest.mark.parametrize(
    ("flag", "value"), [("loss_mask", [0, 1]), ("train", [True, False]), ("weight", [0.5]), ("mask", 1)]
)
def test_a_flag_beside_a_conversation_that_may_mean_two_things_is_refused(
    tmp_path: Path, flag: str, value: object
) -> None:
    with pytest.raises(InputError, match=f"line 1: {flag} must be true or false.*, got .*take the column out"):
        list(read(tmp_path / "a.jsonl", {**ROWS["messages"], flag: value}))


@pytest.mark.parametrize(("flag", "value"), [("loss", 0.0), ("weight", 0.5), ("train", "split"), ("mask", "<mask>")])
def test_a_flag_that_is_none_is_a_column_that_is_not_read(tmp_path: Path, flag: str, value: object) -> None:
    samples = read(tmp_path / "a.jsonl", {**ROWS["messages"], flag: value})
    assert len(list(samples)) == 1
    assert samples.unread.columns == {flag: 1}


def test_a_flag_of_a_table_of_text_is_true_and_false_in_any_case(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt,completion,train,weight\na,b,False,1\na,c,TRUE,0\na,d,true,1\n")
    samples = read_samples([str(path)])
    assert [sample.place.number for sample in samples] == [4]
    assert sum(samples.reading.left.values()) == 2
