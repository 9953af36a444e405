"""Columns that the data calls otherwise: renamed before a format is recognised, and never onto one that is there."""

import json
import re
from pathlib import Path

import pytest
from tests.data.given import rows_of
from tests.data.labelling.recipes import recipe

from lmhead.data.formats.formats import read_samples
from lmhead.data.formats.sample import ChatSample, CompletionSample, TextSample, TokenSample
from lmhead.data.labelling.label_files import label_files
from lmhead.data.rows.renames import Renames
from lmhead.errors import ArgumentError, ArgumentTypeError, InputError

ASKED = {"role": "user", "content": "Hi"}
SAID = {"role": "assistant", "content": "Hello"}


def file(path: Path, *rows: object) -> str:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


@pytest.mark.parametrize(
    ("columns", "row", "kind"),
    [
        ("messages=dialogue,tools=api", {"dialogue": [ASKED, SAID], "api": [{"name": "f"}]}, ChatSample),
        ({"conversations": "chat, in turns"}, {"chat, in turns": [ASKED, SAID]}, ChatSample),
        ('{"conversations": "a=b"}', {"a=b": [ASKED, SAID]}, ChatSample),
        ("prompt=question, completion = answer", {"question": "a", "answer": "b"}, CompletionSample),
        ("prompt=completion,completion=prompt", {"prompt": "a", "completion": "b"}, CompletionSample),
        ("text=body", {"body": "a", "text": None}, TextSample),
        ("input_ids=tokens,loss_mask=mask", {"tokens": [1, 2], "mask": [0, 1]}, TokenSample),
    ],
)
@pytest.mark.parametrize("kind_of_file", ["jsonl", "json", "parquet", "folder"])
def test_a_renamed_column_is_read_as_what_it_is_called(
    tmp_path: Path, columns: object, row: dict[str, object], kind: type, kind_of_file: str
) -> None:
    given = file(tmp_path / "a.jsonl", row)
    if kind_of_file == "json":
        (tmp_path / "a.json").write_text(json.dumps(row))
        given = str(tmp_path / "a.json")
    elif kind_of_file == "parquet":
        pa = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
        given = str(tmp_path / "a.parquet")
    elif kind_of_file == "folder":
        (tmp_path / "empty.json").write_text("{}")  # no rows: a text, where the others are texts
        given = str(tmp_path)
    samples = list(read_samples([given], columns=columns))  # type: ignore[arg-type]
    assert type(samples[0]) is kind
    assert len(samples) == 1 + (kind_of_file == "folder" and kind is TextSample)


def test_columns_that_change_places_do(tmp_path: Path) -> None:
    path = file(tmp_path / "a.jsonl", {"prompt": "a", "completion": "b"})
    (sample,) = read_samples([path], columns={"prompt": "completion", "completion": "prompt"})
    assert isinstance(sample, CompletionSample)
    assert (sample.prompt, sample.completion) == ("b", "a")


def test_some_rows_and_some_files_may_lack_a_column(tmp_path: Path) -> None:
    one = file(tmp_path / "a.jsonl", {"body": "a"}, {"text": "b"})
    other = file(tmp_path / "b.jsonl", {"text": "c"})
    assert [row.columns["text"] for row in rows_of(one, other, columns="text=body")] == ["a", "b", "c"]


def test_a_row_that_has_both_names_is_refused(tmp_path: Path) -> None:
    path = file(tmp_path / "a.jsonl", {"body": "a"}, {"body": "b", "text": "c"}, {"body": None, "text": "c"})
    told: list[str] = []
    rows = rows_of(path, columns="text=body", on_error=lambda _, error: told.append(str(error)))
    assert [row.columns["text"] for row in rows] == ["a"]
    assert told == [
        f"{path}, line {line}: columns must not name text where a row has it, got a row with body and with text: take "
        "one of the two out, or rename text to something else in the data"
        for line in (2, 3)
    ]


def test_a_column_that_no_row_has_is_told_with_the_nearest(tmp_path: Path) -> None:
    path = file(tmp_path / "a.jsonl", {"dialogue": [ASKED, SAID], "api": None})
    with pytest.raises(InputError, match="columns names dialog, which it has not: did you mean dialogue"):
        list(read_samples([path], columns="messages=dialog"))
    wrong = "messages=dialogue,tools=functoins"
    with pytest.raises(
        InputError, match=r"^columns must name columns of the data, got 'functoins', which no row has: "
    ):
        list(read_samples([path], columns=wrong))
    with pytest.raises(InputError, match=r"which no row has: there are dialogue, api$"):
        label_files([path], recipe(columns=wrong))
    assert len(list(read_samples([path], columns="messages=dialogue,tools=api"))) == 1  # it is there, and null


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("messages", "columns must be pairs such as messages=dialogue,tools=functions, got 'messages'"),
        ("messages=a=b", "columns must be pairs such as"),
        ("messages=", "columns must be pairs such as"),
        ("messages=a,", "columns must be pairs such as messages=dialogue,tools=functions, got ''"),
        ('{"messages": ', "columns must be an object of JSON where it begins with {"),
        ("messages=a,messages=b", "columns must name one column for each of ours, got a and b for messages"),
        ("messages=a,text=a", "columns must name each column once, got 'a' for messages and text"),
        ("dialogue=messages", "got 'dialogue': ours comes first, messages=dialogue"),
        ("mesages=dialogue", "got 'mesages': did you mean messages?"),
        ("dialogue=chat", "got 'dialogue': columns that are read are messages, conversations, "),
    ],
)
def test_names_that_can_mean_nothing_are_refused(columns: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(message)):
        Renames.of(columns)


@pytest.mark.parametrize("columns", ["[1]", ["messages"], {"messages": 1}, 3])
def test_what_is_no_mapping_of_names_is_a_type_error(columns: object) -> None:
    with pytest.raises((ArgumentTypeError, ArgumentError), match="columns must be"):
        Renames.of(columns)  # type: ignore[arg-type]


def test_what_is_renamed_decides_what_labels_are_kept(tmp_path: Path) -> None:
    path = file(tmp_path / "a.jsonl", {"dialogue": [ASKED, SAID], "other": [ASKED, SAID, ASKED, SAID]})
    made = [
        label_files([path], recipe(columns=columns), cache=tmp_path / "cache")
        for columns in ("messages=dialogue", "messages=other", "messages=dialogue")
    ]
    assert [data.from_cache for data in made] == [False, False, True]
    assert made[0].fingerprint == made[2].fingerprint != made[1].fingerprint
