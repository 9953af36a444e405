"""Nothing unread in silence: columns and keys of messages that nothing reads are told once, with counts."""

import json

import pytest
from tests.inspection.doctor.patients import GOOD, assistant, chat, tokenizer, user, write
from tests.labels.chat.chat_templates import CHATML

from lmhead.data.formats.formats import read_samples
from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.labelling.label_files import label_files
from lmhead.data.labelling.recipe import Recipe
from lmhead.inspection.doctor.examine import examine
from lmhead.labels.template.chat_template import ChatTemplate

COUNTED = "message.content + ('' if message.role != 'user' else message.items() | list | length | string)"
WALKS = CHATML.replace("message.content", COUNTED)
TELLS = CHATML.replace("message.content", "message.get('mood', '') + message.content")


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda rows, name="chat.jsonl": write(tmp_path / name, rows)


def with_columns(row, **columns):
    return {**row, **columns}


def test_columns_that_nothing_reads_are_told_once_with_counts_and_where(file):
    rows = [with_columns(GOOD[0], id=1, source="web"), with_columns(GOOD[1], id=2), with_columns(GOOD[0], empty=[])]
    finding = examine(file(rows), tokenizer())["columns_not_read"]
    assert finding.head() == (
        "info: columns that nothing reads: id (2 rows), source (1 row) (chat.jsonl, line 1) [columns_not_read]"
    )
    assert finding.count == 2


def test_what_a_row_is_read_by_is_not_told(file):
    row = chat(user("Ask alpha one"), assistant("Reply bravo two"), system="Be golf", tools=None, label=True)
    row["chat_template_kwargs"] = {"enable_thinking": False}
    assert "columns_not_read" not in examine(file([row]), tokenizer())
    ids = {"input_ids": [5, 6, 7], "labels": [-100, 6, 7], "attention_mask": [1, 1, 1], "position_ids": [0, 1, 2]}
    assert "columns_not_read" not in examine(file([ids]), tokenizer())


def test_a_column_that_looks_like_one_that_is_read_is_a_warning(file):
    finding = examine(file([with_columns(GOOD[0], tool=[{"name": "f"}])]), tokenizer())["columns_not_read"]
    assert finding.severity == "warning"
    assert "tool (1 row, did you mean tools?)" in finding.message
    beside = with_columns(GOOD[0], prompt="Ask", prompt_id="x")  # what is there is not misspelt
    assert examine(file([beside]), tokenizer())["columns_not_read"].severity == "info"


def test_pictures_are_an_error(file):
    rows = [with_columns(GOOD[0], images=["a.png"]), with_columns(GOOD[1], images=[])]
    report = examine(file(rows), tokenizer())
    assert report["media_not_read"].severity == "error"
    assert report["media_not_read"].message == "images of 1 row: a model of text is never shown them"
    assert "columns_not_read" not in report


def test_keys_of_messages_that_nothing_reads_are_told(file):
    rows = [chat(user("Ask alpha"), assistant("Reply bravo", mood="glad", loss_maks=0, id="", name="golf"))] * 2
    finding = examine(file(rows), tokenizer())["keys_not_read"]
    assert (finding.severity, finding.count, finding.places) == ("warning", 2, ("chat.jsonl, line 1",))
    assert finding.message.endswith(": loss_maks (2 messages, did you mean loss_mask?), mood (2 messages)")


@pytest.mark.parametrize("template", [WALKS, TELLS])
def test_a_key_that_the_chat_template_reads_is_not_told(file, template):
    rows = [
        chat(user("Ask alpha", mood="glad") if False else {**user("Ask alpha"), "mood": "glad"}, assistant("Reply"))
    ]
    assert "keys_not_read" in examine(file(rows), tokenizer())
    samples = read_samples([file(rows)])
    list(samples)
    assert samples.unread.keys == {"mood": 1}
    assert "keys_not_read" not in examine(file(rows), tokenizer(template))
    assert "keys_not_read" not in examine(list(read_samples([file(rows)])), tokenizer(template))
    assert "keys_not_read" in examine(list(read_samples([file(rows)])), tokenizer())


def test_a_template_names_what_it_reads():
    source = (
        "{% for m in messages %}{{ m.role ~ m['content'] ~ m.get('mood') }}{% if 'id' in m %}x{% endif %}{% endfor %}"
    )
    assert ChatTemplate(source).names >= {"role", "content", "mood", "id"}
    assert "name" not in ChatTemplate(source).names


def test_of_a_text_in_parquet_other_columns_are_told_without_being_read(tmp_path):
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"text": ["a", "b"], "source": ["x", None]})
    pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "a.parquet")
    samples = read_samples([str(tmp_path / "a.parquet")], format="text")
    assert len(list(samples)) == 2
    assert samples.unread.columns == {"source": 2}


def test_what_is_not_read_is_kept_with_labels(file, tmp_path):
    rows = [with_columns(GOOD[0], id=1), chat({**user("Ask"), "mood": "glad"}, assistant("Reply", loss=True))]
    recipe = Recipe.of(tokenizer(), ChatConfig())
    made, found = (label_files([file(rows)], recipe, cache=tmp_path / "cache") for _ in range(2))
    assert found.from_cache
    assert json.dumps(made.survey.to_dict()) == json.dumps(found.survey.to_dict())
    assert (found.survey.unread.columns, found.survey.unread.keys) == ({"id": 1}, {"mood": 1})
    assert found.survey.usage.counts["chat"] == 2


@pytest.mark.parametrize("key", ["reasoning_details", "thinking_blocks", "thoughts"])
def test_a_reasoning_under_another_name_may_be_meant_as_one(file, key):
    rows = [chat(user("Ask alpha one"), assistant("Reply bravo two") | {key: [{"text": "hm"}]})]
    message = examine(file(rows), tokenizer())["keys_not_read"].message
    assert f"{key} (1 message, did you mean reasoning_content?)" in message
