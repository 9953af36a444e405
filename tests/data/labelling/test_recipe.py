import json
import pickle
from dataclasses import fields, replace
from datetime import datetime, timedelta

import pytest
from tests.data.labelling.recipes import CONVERSATIONS, recipe, tokenizer
from tests.labels.chat.chat_templates import CHATML as OTHER
from tokenizers import Tokenizer, models

from lmhead.data.formats.sample import ChatSample, TextSample
from lmhead.data.labelling import recipe as module
from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.labelling.recipe import Recipe
from lmhead.data.rows.row import Place
from lmhead.data.tokenizer.chatml import CHATML, CHATML_TOKENS
from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles
from lmhead.errors import ArgumentError, InputError

PLACE = Place(source="x", number=1)
DATED = CHATML + "{{- strftime_now('%d %b %Y') }}"


def test_a_tokenizer_without_a_template_gets_chatml():
    made = recipe()
    assert made.built_in
    assert made.added_tokens == CHATML_TOKENS
    assert made.tokenizer.chat_template == CHATML
    backend = made.tokenizer.backend()
    assert backend.get_vocab_size() == tokenizer().backend().get_vocab_size() + 2


def test_a_tokenizers_own_template_is_used():
    made = recipe(files=tokenizer(chat_template=OTHER))
    assert (made.built_in, made.added_tokens, made.tokenizer.chat_template) == (False, (), OTHER)


def test_a_template_file_wins(tmp_path):
    (tmp_path / "mine.jinja").write_text(OTHER)
    made = recipe(files=tokenizer(chat_template="x", tool_template="y"), template=str(tmp_path / "mine.jinja"))
    assert (made.tokenizer.chat_template, made.tokenizer.tool_template) == (OTHER, None)


def test_chatml_can_be_asked_for_by_name():
    made = recipe(files=tokenizer(chat_template="x", tool_template="y"), template="chatml")
    assert made.built_in
    assert (made.tokenizer.chat_template, made.tokenizer.tool_template) == (CHATML, None)


def test_conversations_with_tools_get_their_own_template():
    plain, tools = OTHER, OTHER.replace("<|im_start|>", "<|tools|>")
    label = recipe(files=tokenizer(chat_template=plain, tool_template=tools)).labeler()
    row = CONVERSATIONS[0]
    one = label(ChatSample(place=PLACE, messages=row["messages"]))
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    with pytest.raises(Exception, match=r"tools\[0\].function.name must be rendered"):  # neither template renders tools
        label(ChatSample(place=PLACE, messages=row["messages"], tools=[tool]))
    assert one.trained.any()


def test_options_reach_the_labeler():
    sample = ChatSample(place=PLACE, messages=CONVERSATIONS[1]["messages"])
    every, last = recipe().labeler()(sample), recipe(train_on="last").labeler()(sample)
    assert every.trained.sum() > last.trained.sum() > 0
    with pytest.raises(Exception, match="must have at most max_length=8 tokens"):
        recipe(max_length=8).labeler()(sample)
    assert len(recipe(max_length=40, overflow="truncate_start").labeler()(sample)) == 40


def test_the_tokens_at_which_generation_stops_reach_the_labeler():
    opening = "{%- for m in messages %}{{- '<|' + m.role + '|>' + m.content }}{%- endfor %}"
    opening += "{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"
    plain = tokenizer()
    backend = plain.backend()
    backend.add_special_tokens(["<|user|>", "<|assistant|>"])
    number = backend.token_to_id("<|user|>")
    files = replace(plain, json=backend.to_str(), chat_template=opening, generation_eos=(number,))
    messages = [{"role": role, "content": "Hi"} for role in ("user", "assistant", "user", "assistant")]
    example = recipe(files=files).labeler()(ChatSample(place=PLACE, messages=messages))
    turns = [span for span in example.spans if span.role == "assistant"]
    assert example.ids[turns[0].stop - 1] == number
    assert [(note.kind, note.message) for note in example.notes] == [("no_terminator", 3)]
    unknown = replace(files, generation_eos=())
    assert recipe(files=unknown).key() != recipe(files=files).key()
    assert (
        recipe(files=unknown).labeler()(ChatSample(place=PLACE, messages=messages)).trained.sum()
        < example.trained.sum()
    )


def test_a_model_without_an_end_of_text_has_no_known_stops():
    files = tokenizer(special_tokens={"eos_token": "</gone>"}, json=without_end())
    assert recipe(files=replace(files, chat_template=OTHER)).stop_tokens() == frozenset()
    assert recipe(files=files).stop_tokens() == {CHATML_TOKENS[1]}


def without_end():
    return Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).to_str()


def test_texts_end_with_the_end_of_text():
    end = tokenizer().backend().token_to_id("<|endoftext|>")
    assert recipe().labeler()(TextSample(place=PLACE, text="some words")).ids[-1] == end


def test_a_recipe_crosses_to_another_process():
    made = recipe(train_on="last", template_arguments='{"x": [1]}')
    again = pickle.loads(pickle.dumps(made))
    assert again == made
    assert again.key() == made.key()


CHANGES = {
    "tokenizer": lambda r: replace(r, tokenizer=replace(r.tokenizer, json=r.tokenizer.json + " ")),
    "chat_template": lambda r: replace(r, tokenizer=replace(r.tokenizer, chat_template=CHATML + " ")),
    "tool_template": lambda r: replace(r, tokenizer=replace(r.tokenizer, tool_template=CHATML)),
    "special_tokens": lambda r: replace(r, tokenizer=replace(r.tokenizer, special_tokens={"bos_token": "<s>"})),
    "add_bos": lambda r: replace(r, tokenizer=replace(r.tokenizer, add_bos=True)),
    "max_length": lambda r: replace(r, max_length=99),
    "template_arguments": lambda r: replace(r, template_arguments={"enable_thinking": False}),
}
OPTIONS = {
    "format": "messages",
    "columns": "messages=dialogue",
    "train_on": "last",
    "train_reasoning": False,
    "assistant_header": "x",
    "dropped_text": "note",
    "overflow": "truncate_end",
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_decides_changes_the_key(change):
    assert CHANGES[change](recipe()).key() != recipe().key()


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_that_decides_changes_the_key(option):
    assert recipe(**{option: OPTIONS[option]}).key() != recipe().key()


def test_every_option_either_decides_or_is_known_not_to():
    through_others = {"template", "template_arguments", "date"}  # as text, as a dict, as `now`
    elsewhere = {"on_error", "workers", "cache"}
    assert {field.name for field in fields(ChatConfig)} == {*OPTIONS, *through_others, *elsewhere}
    assert recipe(on_error="skip", workers=2, cache="x").key() == recipe().key()


def test_the_key_is_the_same_for_the_same():
    keys = {replace(recipe(), tokenizer=replace(recipe().tokenizer, source=name)).key() for name in ("one", "two")}
    assert len(keys) == 1


def test_the_date_decides_where_the_template_asks_for_it():
    asks, never = recipe(files=tokenizer(chat_template=DATED)), recipe()
    for made, decides in ((asks, True), (never, False)):
        later = replace(made, now=made.now + timedelta(days=1))
        assert (later.key() != made.key()) == decides
    for_tools = replace(never, tokenizer=replace(never.tokenizer, tool_template=DATED))
    assert replace(for_tools, now=datetime(2001, 1, 1)).key() != for_tools.key()


def test_the_code_that_labels_is_in_the_key(monkeypatch):
    before = recipe().key()
    monkeypatch.setattr(module, "source_version", lambda *names: f"another {names}")
    assert recipe().key() != before


def test_a_date_is_midnight():
    assert recipe(date="2024-02-29").now == datetime(2024, 2, 29)
    now = recipe().now
    assert (now.hour, now.minute, now.second, now.microsecond) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"template": "missing.jinja"}, "template must be a Jinja file that can be read, or chatml, got missing.jinja"),
        ({"template_arguments": "{"}, "template_arguments must be a JSON object, got '{'"),
        ({"template_arguments": "[1]"}, "template_arguments must be a JSON object"),
        ({"template_arguments": '{"x": NaN}'}, "template_arguments must be a JSON object"),
        ({"template_arguments": "[" * 100_000}, "template_arguments must be a JSON object"),
        ({"date": "29.2.2024"}, "date must be YYYY-MM-DD, got '29.2.2024'"),
        ({"date": "2023-02-29"}, "date must be YYYY-MM-DD"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        recipe(**options)


@pytest.mark.parametrize("name", ["messages", "tools", "add_generation_prompt", "self", "raise_exception"])
def test_a_name_that_the_conversation_owns_is_no_argument(name):
    with pytest.raises(ArgumentError, match=f"template_arguments must be without {name}, got it"):
        recipe(template_arguments=f'{{"enable_thinking": false, "{name}": 1}}')


def test_a_template_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "x.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="template must be UTF-8 text"):
        recipe(template=str(tmp_path / "x.jinja"))


def test_a_broken_template_is_no_fault_of_the_data():
    with pytest.raises(ArgumentError, match="chat_template must be Jinja"):
        recipe(files=tokenizer(chat_template="{% for %}")).labeler()
    with pytest.raises(ArgumentError, match="max_length must be >= 2"):
        recipe(max_length=1)


def test_a_broken_tokenizer_is_refused():
    with pytest.raises(InputError, match=r"must be a tokenizer\.json"):
        Recipe.of(TokenizerFiles(json=json.dumps({})), ChatConfig())
