"""What a message says twice is taken once where it is the same, and refused where it is not; nothing is lost untold."""

import json
from pathlib import Path

import pytest
from tests.data.labelling.chat_rows import ASSISTANT, CALL, PLACE, USER, assistant, messages, user

from lmhead.data.formats.formats import format_of, read_samples
from lmhead.data.rows.row import Row
from lmhead.errors import InputError

TEXT = {"type": "text", "text": "Hello"}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "sunny"}
TOOL_USE = {"type": "tool_use", "id": "t1", "name": "f", "input": {"city": "Bern"}}
ANSWER = {"role": "tool", "content": "sunny", "tool_call_id": "t1"}
OLD = {"name": "f", "arguments": '{"city": "Bern"}'}


def refused(rule: str, **columns: object) -> None:
    with pytest.raises(InputError, match=rule):
        messages(**columns)


@pytest.mark.parametrize(
    "flag", [{"train": False}, {"loss_mask": 0}, {"weight": 0.5}, {"masked": True}, {"loss": True}]
)
def test_a_flag_of_some_blocks_is_refused_and_one_of_all_is_the_messages(flag: dict[str, object]) -> None:
    one = {**TEXT, **flag}
    rule = r"messages\[1\].content must say one thing of its training, got blocks that differ: parts of a message"
    refused(rule, messages=[USER, assistant(one, TEXT)])
    refused(rule, messages=[USER, assistant("Hi", one)])
    refused(rule, messages=[USER, {**assistant(one, one), "train": True, "weight": 3}])
    beside = messages(messages=[USER, {**ASSISTANT, **flag}])
    assert messages(messages=[USER, assistant(one)]) == beside
    assert messages(messages=[USER, {**assistant(one), **flag}]) == beside


@pytest.mark.parametrize(
    "message",
    [
        assistant(TEXT, {"type": "thinking", "thinking": [{"type": "text", "text": "hm", "train": False}]}),
        {"role": "assistant", "tool_calls": [{**CALL, "loss": False}]},
        {"role": "assistant", "tool_calls": [{"function": {**OLD, "weight": 0}}]},
        {"role": "tool_call", "content": json.dumps({**OLD, "train": False})},
    ],
)
def test_a_flag_of_a_part_of_a_message_is_refused(message: object) -> None:
    refused("must be absent, got .*: parts of a message cannot be chosen", messages=[USER, message])


@pytest.mark.parametrize("key", ["reasoning_content", "tool_plan"])
def test_what_opens_a_turn_is_in_the_first_of_the_messages_that_blocks_become(key: str) -> None:
    found = messages(messages=[USER, {**assistant(TEXT, TOOL_USE, RESULT, TEXT), key: "hm"}])
    assert found[1:] == [
        {"role": "assistant", "content": "Hello", "tool_calls": [{"id": "t1", **CALL}], key: "hm"},
        ANSWER,
        ASSISTANT,
    ]


@pytest.mark.parametrize("blocks", [(TEXT, RESULT), (TEXT, RESULT, TEXT)])
def test_calls_beside_blocks_are_those_of_the_assistant_whom_the_tools_answer(blocks: tuple[object, ...]) -> None:
    found = messages(messages=[USER, {**assistant(*blocks), "tool_calls": [CALL]}])
    assert found[1:3] == [{**ASSISTANT, "tool_calls": [CALL]}, ANSWER]
    assert found[3:] == [ASSISTANT] * (len(blocks) - 2)


def test_calls_that_stand_twice_are_learnt_once_where_answers_follow_them() -> None:
    twice = {**assistant(TOOL_USE, RESULT, TEXT), "tool_calls": [{"id": "t1", **CALL}]}
    assert messages(messages=[USER, twice]) == messages(messages=[USER, assistant(TOOL_USE, RESULT, TEXT)])


def test_the_old_name_of_a_call_beside_the_new_one_is_the_same_call() -> None:
    new = {"role": "assistant", "tool_calls": [CALL]}
    assert messages(messages=[USER, {**new, "function_call": OLD}]) == [USER, new]
    assert messages(messages=[USER, {**assistant(TOOL_USE), "function_call": OLD}])[1]["tool_calls"] == [
        {"id": "t1", **CALL}
    ]
    for other in ({**OLD, "name": "g"}, {**OLD, "arguments": "{}"}):
        refused(r"messages\[1\].function_call must be the call", messages=[USER, {**new, "function_call": other}])
    refused(
        "must be the call", messages=[USER, {"role": "assistant", "tool_calls": [CALL, CALL], "function_call": OLD}]
    )


def test_a_message_that_is_a_call_has_its_calls_once() -> None:
    both = {"role": "tool_call", "content": json.dumps(OLD), "tool_calls": [CALL]}
    refused("must have its calls once, got tool_calls beside a content", messages=[USER, both])
    refused("must have its calls once", messages=[USER, {**both, "content": OLD}])
    assert messages(messages=[USER, {**both, "content": ""}])[1]["tool_calls"] == [CALL]
    for key, value in (("tool_calls", [CALL]), ("reasoning_content", "why")):
        turn = {"from": "function_call", "value": f"<think>hm</think>{json.dumps(OLD)}", key: value}
        refused(rf"conversations\[1\].{key} must stand once", conversations=[{"from": "human", "value": "a"}, turn])


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        ({"function": "w", "name": "v", "arguments": {}}, "function must be an object, got 'w'"),
        ({"function": {"name": "w", "arguments": {}}, "name": "v"}, "name must be what function says, got 'v'"),
        ({"function": {"name": "w"}, "input": {"a": 1}, "args": {"a": 2}}, "must have its arguments once, got"),
        ({"name": "w", "arguments": {"a": 1}, "parameters": {"b": 1}}, "must have its arguments once, got"),
        ({"name": "w", "arguments": '{"a": 1, "a": 2}'}, "must name each key once, got 'a' twice"),
    ],
)
def test_a_call_that_says_two_things_is_refused(call: object, rule: str) -> None:
    refused(rule, messages=[USER, {"role": "assistant", "tool_calls": [call]}])


def test_a_call_that_says_one_thing_twice_says_it_once() -> None:
    for call in ({**CALL, "name": "f"}, {**OLD, "arguments": {"city": "Bern"}, "input": {}}, {"function": OLD, **OLD}):
        assert messages(messages=[USER, {"role": "assistant", "tool_calls": [call]}])[1]["tool_calls"] == [CALL]


def test_a_row_that_names_a_key_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a", "completion": "b", "completion": "c"}\n{"text": "a"}\n')
    with pytest.raises(InputError, match="line 1 must name each key of an object once, got 'completion' twice"):
        list(read_samples([str(path)]))


@pytest.mark.parametrize(
    ("beside", "key"),
    [({"role": "user"}, "role"), ({"content": "Bye"}, "content"), ({"content": "", "role": "gpt"}, "content")],
)
def test_role_and_content_beside_from_and_value_say_the_same(beside: dict[str, str], key: str) -> None:
    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
    same = {"role": "assistant", "content": "Hello"}
    assert messages(conversations=[turns[0], {**turns[1], **same}]) == [USER, ASSISTANT]
    rule = rf"conversations\[1\].{key} must say what (from|value) says, got"
    refused(rule, conversations=[turns[0], {**turns[1], **beside}])


def test_of_reasonings_an_empty_one_says_nothing() -> None:
    for keys in ({"reasoning": "hm", "reasoning_content": ""}, {"reasoning": "", "thinking": "hm"}):
        assert messages(messages=[USER, {**ASSISTANT, **keys}])[1] == {**ASSISTANT, "reasoning_content": "hm"}


def test_columns_of_alpaca_that_say_another_thing_are_told_as_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    row = {"instruction": "i", "input": "in", "context": "CTX", "output": "o", "response": "OTHER"}
    path.write_text(json.dumps(row) + "\n" + json.dumps({**row, "input": ""}))
    samples = read_samples([str(path)])
    first, second = samples
    assert samples.unread.columns == {"context": 1, "response": 2}
    assert [message["content"] for message in first.messages] == ["i\n\nin", "o"]  # type: ignore
    assert [message["content"] for message in second.messages] == ["i\n\nCTX", "o"]  # type: ignore


def test_a_completion_has_a_prefill_of_its_own_behind_the_text_of_the_prompt() -> None:
    begun = [USER, {"role": "assistant", "content": "The answer"}]
    found = messages(prompt=begun, completion=[{"role": "assistant", "content": " is four.", "prefill": " is"}])
    assert found[1] == {"role": "assistant", "content": "The answer is four.", "prefill": "The answer is"}


def test_a_user_has_no_thought_and_an_assistants_is_reasoning() -> None:
    parts = ({"text": "hm", "thought": True, "thoughtSignature": "c2ln"}, {"text": "Hello", "thought": False})
    assert messages(messages=[USER, assistant(*parts)])[1] == {**ASSISTANT, "reasoning_content": "hm"}
    refused("must be in an assistant's message", messages=[user(*parts), ASSISTANT])


@pytest.mark.parametrize(
    ("message", "rule"),
    [
        ({}, r"messages\[1\] must have a role, got an empty object"),
        ({"role": "user", "content": None}, 'must be given, got null: give it a text \\("" for none\\)$'),
        (
            {"role": "assistant", "content": None},
            "must be given where there are no tool_calls, got null: .*or tool_calls",
        ),
        (
            {"role": "user", "parts": [{"text": "Hi"}]},
            "must be given, got the keys role, parts: rename parts to content",
        ),
        ({"role": "assistant", "tool_calls": [{**OLD, "arguments": "null"}]}, "got null: write {} for none"),
        (
            assistant(TEXT, {"type": "thinking", "thinking": "hm"}),
            "got reasoning behind text: .*put the reasoning first",
        ),
    ],
)
def test_the_remedy_is_one_for_this_message(message: object, rule: str) -> None:
    refused(rule, messages=[USER, message])


def test_what_is_null_of_the_columns_of_a_format_is_told() -> None:
    row = Row(place=PLACE, columns={"output": "a"}, nulls=frozenset({"instruction"}))
    with pytest.raises(InputError, match="instruction is null; give it a value, or leave the row out"):
        format_of(row)


def test_pairs_of_a_history_are_named_by_both_places() -> None:
    with pytest.raises(InputError, match=r"history\[0\]\[1\] must be"):
        messages(instruction="a", output="b", history=[["x", 3]])


def test_a_flag_of_some_blocks_of_a_user_says_nothing() -> None:
    blocks = ({"type": "text", "text": "H", "train": False}, {"type": "text", "text": "i"})
    assert messages(messages=[user(*blocks), ASSISTANT]) == [USER, ASSISTANT]
    refused("only an assistant's message is learnt", messages=[user({**TEXT, "train": True}), ASSISTANT])


def test_what_langchain_keeps_in_data_belongs_into_the_message() -> None:
    refused("write what data holds into the message itself", messages=[{"type": "human", "data": {"content": "Hi"}}])


def test_an_output_of_encrypted_reasoning_alone_has_no_text() -> None:
    output = [{"type": "reasoning", "summary": [], "encrypted_content": "gA"}]
    refused("output must hold an assistant's message, got nothing that has a text", input="Hi", output=output)
