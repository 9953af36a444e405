"""Each format becomes its sample; words, nestings and nulls that mean one thing become one thing."""

import json
from pathlib import Path

import pytest
from tests.data.labelling.chat_rows import ASSISTANT, CALL, PLACE, USER, messages, read

from lmhead.data.formats.formats import FORMATS, format_of, read_samples
from lmhead.data.formats.sample import ChatSample, CompletionSample, TextSample, TokenSample
from lmhead.data.rows.row import Row
from lmhead.errors import ArgumentError, InputError

SCHEMA = {"type": "function", "function": {"name": "f", "description": "d"}}


def file(path: Path, *rows: object) -> str:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        ({"messages": [], "prompt": "a", "text": "b"}, "messages"),
        ({"conversations": [], "text": "b"}, "sharegpt"),
        ({"conversation": []}, "sharegpt"),
        ({"prompt": "a", "completion": "b", "text": "c"}, "prompt_completion"),
        ({"prompt": "a", "response": "b"}, "prompt_completion"),
        ({"instruction": "a", "input": "b", "output": "c", "text": "d"}, "alpaca"),
        ({"instruction": "a", "context": "b", "response": "c"}, "alpaca"),
        ({"input_ids": [1], "text": "a"}, "tokens"),
        ({"text": "a"}, "text"),
        ({"input": "a", "output": [{"type": "message", "role": "assistant", "content": "b"}]}, "responses"),
        ({"input": "a", "output": "b", "text": "c"}, "text"),
    ],
)
def test_of_several_formats_the_first_of_the_table_is_taken(columns: dict[str, object], name: str) -> None:
    assert format_of(Row(place=PLACE, columns=columns)).name == name


def test_a_named_format_is_taken_whatever_else_there_is(tmp_path: Path) -> None:
    path = file(tmp_path / "a.jsonl", {"messages": [USER, ASSISTANT], "text": "b"})
    assert [type(sample) for sample in read_samples([path], format="text")] == [TextSample]
    with pytest.raises(
        InputError, match="must have conversations or conversation, as format='sharegpt' says, got"
    ) as no:
        list(read_samples([path], format="sharegpt"))
    assert str(no.value).endswith("got the columns messages, text: its columns are those of format='messages'")
    with pytest.raises(ArgumentError, match=r"format must be one of messages, .*got 'mesages': did you mean messages?"):
        read_samples([path], format="mesages")


def test_messages_are_kept_with_what_templates_read() -> None:
    given = [USER, {**ASSISTANT, "name": "bob", "weight": 0.5, "train": True}]
    assert messages(messages=given) == given
    assert messages(messages=json.dumps(given)) == given


def test_a_null_is_as_good_as_a_missing_key_but_inside_arguments_it_is_a_value() -> None:
    call = {"id": None, "function": {"name": "f", "arguments": {"unit": None}}}
    found = messages(messages=[{**USER, "name": None}, {"role": "assistant", "content": None, "tool_calls": [call]}])
    wanted = {"type": "function", "function": {"name": "f", "arguments": {"unit": None}}}
    assert found == [USER, {"role": "assistant", "tool_calls": [wanted]}]


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_has_one_name(key: str) -> None:
    assert messages(messages=[USER, {**ASSISTANT, key: "hm"}])[1] == {**ASSISTANT, "reasoning_content": "hm"}
    with pytest.raises(InputError, match=r"messages\[0\] must have one reasoning"):
        messages(messages=[{**ASSISTANT, "reasoning": "a", "thinking": "b"}])


@pytest.mark.parametrize(
    "calls",
    [
        [{"function": {"name": "f", "arguments": '{"city": "Bern"}'}}],
        [{"name": "f", "arguments": {"city": "Bern"}}],
        json.dumps([{"name": "f", "parameters": {"city": "Bern"}}]),
        [json.dumps({"name": "f", "arguments": {"city": "Bern"}})],
    ],
)
def test_calls_have_one_form(calls: object) -> None:
    assert messages(messages=[USER, {"role": "assistant", "tool_calls": calls}])[1]["tool_calls"] == [CALL]


@pytest.mark.parametrize("arguments", [{}, "", "{}", None, [], "[]"])
def test_no_arguments_are_an_empty_object(arguments: object) -> None:
    calls = [{"name": "f", "arguments": arguments}]
    found = messages(messages=[USER, {"role": "assistant", "tool_calls": calls}])[1]["tool_calls"]
    assert found == [{"type": "function", "function": {"name": "f", "arguments": {}}}]


def test_the_old_words_for_calls_are_read() -> None:
    old = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"city": "Bern"}'}}
    found = messages(messages=[USER, old, {"role": "function", "name": "f", "content": "3"}])
    assert found[1] == {"role": "assistant", "tool_calls": [CALL]}
    assert found[2] == {"role": "tool", "name": "f", "content": "3"}


@pytest.mark.parametrize("key", ["tools", "functions"])
@pytest.mark.parametrize("tool", [SCHEMA, SCHEMA["function"], json.dumps(SCHEMA)])
def test_schemas_of_tools_have_one_form(key: str, tool: object) -> None:
    for value in ([tool], json.dumps([tool])):
        sample = read(messages=[USER, ASSISTANT], **{key: value})
        assert isinstance(sample, ChatSample)
        assert sample.tools == [SCHEMA]


@pytest.mark.parametrize("none", [[], "", "[]"])
def test_no_tools_are_none(none: object) -> None:
    sample = read(messages=[USER, ASSISTANT], tools=none)
    assert isinstance(sample, ChatSample)
    assert sample.tools is None


def test_nulls_of_a_schema_are_dropped_but_not_its_default() -> None:
    properties = {"city": {"type": "string", "default": None, "enum": None}, "unit": None}
    tool = {"function": {"name": "f", "parameters": {"properties": properties}}}
    sample = read(messages=[USER, ASSISTANT], tools=[tool])
    assert isinstance(sample, ChatSample)
    assert sample.tools is not None
    wanted = {"city": {"type": "string", "default": None}}
    assert sample.tools[0]["function"]["parameters"]["properties"] == wanted


def test_blocks_that_are_all_text_become_a_string() -> None:
    blocks = [{"type": "text", "text": "Hi", "image": None}, {"type": "text", "text": "!"}]
    assert messages(messages=[{"role": "user", "content": blocks}, ASSISTANT])[0]["content"] == "Hi!"


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ({"loss": False}, {"train": False}),
        ({"loss_mask": 0}, {"train": False}),
        ({"trainable": True}, {"train": True}),
        ({"masked": True}, {"train": False}),
        ({"loss_scale": 0.0}, {"weight": 0.0}),
        ({"train": None, "weight": 0.5}, {"weight": 0.5}),
    ],
)
def test_a_flag_of_any_trainer_is_train_or_weight(flag: dict[str, object], said: dict[str, object]) -> None:
    assert messages(messages=[USER, {**ASSISTANT, **flag}])[1] == {**ASSISTANT, **said}
    assert messages(messages=[{**USER, "train": False}, ASSISTANT])[0] == {**USER, "train": False}


def test_flags_that_contradict_each_other_are_refused_with_the_place() -> None:
    with pytest.raises(InputError, match=r"^rows.jsonl, line 1: messages\[1\] must say once whether it is trained"):
        messages(messages=[USER, {**ASSISTANT, "train": True, "loss_mask": 0}])


def test_a_system_prompt_of_its_own_column_stands_first_once() -> None:
    system = {"role": "system", "content": "Be brief"}
    assert messages(messages=[USER, ASSISTANT], system="Be brief") == [system, USER, ASSISTANT]
    assert messages(messages=[system, USER, ASSISTANT], system="Be brief") == [system, USER, ASSISTANT]
    assert messages(messages=[USER, ASSISTANT], system="") == [USER, ASSISTANT]


@pytest.mark.parametrize("kwargs", [{"enable_thinking": False}, '{"enable_thinking": false}'])
def test_template_arguments_of_a_row_are_kept(kwargs: object) -> None:
    sample = read(messages=[USER, ASSISTANT], chat_template_kwargs=kwargs)
    assert isinstance(sample, ChatSample)
    assert sample.template_arguments == {"enable_thinking": False}


@pytest.mark.parametrize("name", ["messages", "tools", "add_generation_prompt"])
def test_template_arguments_of_a_row_do_not_name_what_the_row_says(name: str) -> None:
    with pytest.raises(InputError, match=f"chat_template_kwargs must be without {name}, got it"):
        read(messages=[USER, ASSISTANT], chat_template_kwargs={name: 1})


@pytest.mark.parametrize("user", ["human", "user"])
@pytest.mark.parametrize("assistant", ["gpt", "assistant", "chatgpt", "bard"])
def test_sharegpt_speakers_are_roles(user: str, assistant: str) -> None:
    turns = [{"from": user, "value": "Hi"}, {"from": assistant, "value": "Hello", "weight": 0}]
    assert messages(conversations=turns) == [USER, {**ASSISTANT, "weight": 0}]


def test_sharegpt_calls_and_observations_are_read() -> None:
    call = json.dumps({"name": "f", "arguments": {"city": "Bern"}})
    for value in (call, f"[{call}]"):
        turns = [
            {"from": "human", "value": "Hi"},
            {"from": "function_call", "value": value},
            {"from": "observation", "value": "3"},
            {"from": "gpt", "value": "Hello"},
        ]
        found = messages(conversations=turns, tools=json.dumps([SCHEMA["function"]]))
        assert found == [
            USER,
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "content": "3"},
            ASSISTANT,
        ]


def test_conversations_of_role_and_content_are_read() -> None:
    assert messages(conversations=[USER, ASSISTANT]) == [USER, ASSISTANT]


def test_prompt_and_completion_as_texts_stay_texts() -> None:
    assert read(prompt="a", completion="b") == CompletionSample(place=PLACE, prompt="a", completion="b")


@pytest.mark.parametrize("completion", ["Hello", [ASSISTANT], ASSISTANT])
def test_of_prompt_and_completion_as_messages_the_prompt_is_not_learnt(completion: object) -> None:
    found = messages(prompt=[USER, {"role": "assistant", "content": "Yes?"}, USER], completion=completion)
    assert found == [USER, {"role": "assistant", "content": "Yes?", "train": False}, USER, ASSISTANT]


BEGUN = [USER, {"role": "assistant", "content": "The answer is"}]


@pytest.mark.parametrize("completion", [" four.", [{"role": "assistant", "content": " four."}]])
def test_a_completion_goes_on_with_the_answer_that_the_prompt_began(completion: object) -> None:
    whole = {"role": "assistant", "content": "The answer is four.", "prefill": "The answer is"}
    assert messages(prompt=BEGUN, completion=completion) == [USER, whole]


def test_what_a_prompt_began_may_end_in_a_call_and_have_more_messages_behind_it() -> None:
    call = {"role": "assistant", "tool_calls": [CALL]}
    found = messages(prompt=BEGUN, completion=[call, {"role": "tool", "content": "3"}, {**ASSISTANT, "weight": 2}])
    begun = {"role": "assistant", "tool_calls": [CALL], "content": "The answer is", "prefill": "The answer is"}
    assert found == [USER, begun, {"role": "tool", "content": "3"}, {**ASSISTANT, "weight": 2}]


def test_an_empty_answer_at_the_end_of_a_prompt_began_nothing() -> None:
    assert messages(prompt=[USER, {"role": "assistant", "content": ""}], completion="Hello") == [USER, ASSISTANT]


@pytest.mark.parametrize(
    ("begun", "completion", "what"),
    [
        ({"role": "assistant", "tool_calls": [CALL]}, "Hello", "tool_calls"),
        ({**ASSISTANT, "reasoning": "hm"}, "Hello", "reasoning_content"),
        (ASSISTANT, [{**ASSISTANT, "thinking": "hm"}], "reasoning_content"),
    ],
)
def test_a_prompt_that_ends_in_more_than_a_text_is_not_gone_on_with(
    begun: object, completion: object, what: str
) -> None:
    rule = f"prompt must end in a text where the completion goes on with it, got {what} there: write the answer whole"
    with pytest.raises(InputError, match=rule):
        messages(prompt=[USER, begun], completion=completion)


def test_alpaca_is_a_conversation() -> None:
    system = {"role": "system", "content": "s"}
    found = messages(instruction="Add", input="1 2", output="Hello", system="s", history=[["Hi", "Hello"]])
    assert found == [system, USER, ASSISTANT, {"role": "user", "content": "Add\n\n1 2"}, ASSISTANT]
    assert messages(instruction="Hi", input="", output="Hello") == [USER, ASSISTANT]
    assert messages(instruction="Hi", context="", response="Hello") == [USER, ASSISTANT]


@pytest.mark.parametrize(
    ("columns", "ids", "labels"),
    [
        ({}, [1, 2, 3], None),
        ({"labels": [-100, 2, 3]}, [1, 2, 3], [-100, 2, 3]),
        ({"completion_mask": [0, 0, 1]}, [1, 2, 3], [-100, -100, 3]),
        ({"assistant_masks": [False, True, True]}, [1, 2, 3], [-100, 2, 3]),
        ({"completion_mask": [0, 1, 1], "assistant_masks": [1, 0, 1]}, [1, 2, 3], [-100, -100, 3]),
        ({"labels": [1, 2, -100], "attention_mask": [1, 1, 0]}, [1, 2], [1, 2]),
        ({"labels": [-100, 2, 3], "attention_mask": [0, 1, 1]}, [2, 3], [2, 3]),
        ({"attention_mask": [1, 1, 1], "position_ids": [0, 1, 2]}, [1, 2, 3], None),
    ],
)
def test_tokens_are_read_with_labels_or_masks_and_without_padding(
    columns: dict[str, object], ids: list[int], labels: list[int] | None
) -> None:
    assert read(input_ids=[1, 2, 3], **columns) == TokenSample(place=PLACE, ids=ids, labels=labels)


def test_files_may_differ_in_format_and_all_formats_are_counted(tmp_path: Path) -> None:
    chat = {"messages": [USER, ASSISTANT], "text": "rendered"}
    paths = [file(tmp_path / "a.jsonl", chat, chat), file(tmp_path / "b.jsonl", {"text": "a"})]
    samples = read_samples(paths)
    for _ in range(2):  # each iteration counts anew
        assert len(list(samples)) == 3
        assert samples.formats == {"messages": 2, "text": 1}
        assert samples.passed_over == {"text": 2}


def test_on_error_is_given_what_breaks_its_format_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n{"text": \n{"text": 5}\n{"prompt": "a", "completion": "b"}\n[]\n{"text": "b"}\n')
    found: list[tuple[int, str]] = []
    samples = list(read_samples([str(path)], on_error=lambda place, error: found.append((place.number, str(error)))))
    assert [sample.text for sample in samples if isinstance(sample, TextSample)] == ["a", "b"]
    assert [number for number, _ in found] == [2, 3, 4, 5]
    assert all(message.startswith(f"{path}, line {number}") for number, message in found)


def test_every_format_reads_only_what_it_matches() -> None:
    assert list(FORMATS) == ["messages", "sharegpt", "prompt_completion", "alpaca", "tokens", "text", "responses"]
    assert not any(one.matches({"id": 1}) for one in FORMATS.values())
