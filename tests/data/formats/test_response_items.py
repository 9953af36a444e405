"""Items of OpenAI's responses become messages: what the output holds is learnt, what the input holds is not."""

import json

import pytest
from tests.data.labelling.chat_rows import ASSISTANT, CALL, USER, messages, read

from lmhead.data.formats.formats import format_of
from lmhead.data.formats.sample import ChatSample
from lmhead.data.rows.row import Place, Row
from lmhead.errors import InputError

REASONING = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "content": None}
FUNCTION_CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"city": "Bern"}'}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "sunny"}
MESSAGE = {
    "type": "message",
    "id": "msg_1",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Hello", "annotations": []}],
}
CALL_1 = {"id": "c1", **CALL}
ANSWER = {"role": "tool", "content": "sunny", "tool_call_id": "c1"}


def test_input_is_the_prompt_and_output_is_learnt() -> None:
    given = [USER, MESSAGE, {"role": "user", "content": [{"type": "input_text", "text": "And?"}]}]
    found = messages(instructions="Be brief.", input=given, output=[REASONING, MESSAGE])
    assert found == [
        {"role": "system", "content": "Be brief."},
        USER,
        {**ASSISTANT, "train": False},
        {"role": "user", "content": "And?"},
        {**ASSISTANT, "reasoning_content": "hm"},
    ]
    assert messages(input="Hi", output=[MESSAGE]) == [USER, ASSISTANT]


def test_items_that_are_one_turn_are_one_message() -> None:
    called = {"role": "assistant", "tool_calls": [CALL_1]}
    items = [USER, REASONING, FUNCTION_CALL, FUNCTION_CALL, OUTPUT, OUTPUT, MESSAGE]
    twice = {"role": "assistant", "reasoning_content": "hm", "tool_calls": [CALL_1, CALL_1]}
    assert messages(messages=items) == [USER, twice, ANSWER, ANSWER, ASSISTANT]
    assert messages(messages=[USER, MESSAGE, FUNCTION_CALL]) == [USER, {**ASSISTANT, **called}]
    assert messages(messages=[USER, REASONING, REASONING, MESSAGE]) == [
        USER,
        {**ASSISTANT, "reasoning_content": "hm\n\nhm"},
    ]
    assert messages(messages=[USER, FUNCTION_CALL, REASONING, FUNCTION_CALL]) == [
        USER,
        called,
        {**called, "reasoning_content": "hm"},
    ]


@pytest.mark.parametrize(
    ("item", "reasoning"),
    [
        ({"content": [{"type": "reasoning_text", "text": "all of it"}]}, {"reasoning_content": "all of it"}),
        ({"summary": [{"text": "a"}, {"text": "b"}]}, {"reasoning_content": "a\n\nb"}),
        ({"summary": [], "encrypted_content": "gAAA"}, {}),
    ],
)
def test_reasoning_is_its_text_or_the_summary_of_it_and_encrypted_there_is_none(
    item: object, reasoning: object
) -> None:
    assert messages(messages=[USER, {**REASONING, **item}, MESSAGE])[1] == {**ASSISTANT, **reasoning}  # type: ignore


def test_custom_calls_and_outputs_of_blocks_are_read() -> None:
    call = {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": "*** Begin"}
    output = {"type": "custom_tool_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "sunny"}]}
    wanted = {"id": "c1", "type": "function", "function": {"name": "patch", "arguments": {"input": "*** Begin"}}}
    assert messages(messages=[USER, call, output])[1:] == [{"role": "assistant", "tool_calls": [wanted]}, ANSWER]


@pytest.mark.parametrize("kind", ["web_search_call", "item_reference", "computer_call_output", "local_shell_call"])
def test_what_a_providers_own_tool_did_is_refused(kind: str) -> None:
    with pytest.raises(InputError, match=rf"messages\[1\].type must be one of message, reasoning, .*, got '{kind}'"):
        messages(messages=[USER, {"type": kind, "id": "x", "action": {"query": "weather"}}])
    with pytest.raises(InputError, match=r"output\[0\] must have a role, got the keys type, content"):
        messages(input="Hi", output=[{"type": "message", "content": "a"}])


@pytest.mark.parametrize(
    ("item", "remedy"),
    [
        ({"type": "output_text", "text": "Hello"}, "it is a block; write it into the content of a message"),
        ({"type": "thinking", "thinking": "hm"}, "it is a block; write it into the content of a message"),
        ({"lc": 1, "type": "constructor", "kwargs": {"content": "Hi"}}, "as LangChain dumps it; write its messages"),
    ],
)
def test_what_stands_among_items_and_is_none_is_told_where_it_belongs(item: object, remedy: str) -> None:
    with pytest.raises(InputError, match=rf"messages\[1\].type must be one of .*{remedy}"):
        messages(messages=[USER, item])


def test_schemas_beside_their_type_are_those_of_functions() -> None:
    tool = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": None}
    sample = read(messages=[USER, ASSISTANT], tools=[tool])
    assert isinstance(sample, ChatSample)
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}}
    assert sample.tools == [{"type": "function", "function": function}]


@pytest.mark.parametrize("output", ["Hello", [], ["Hello"], [{"text": "Hello"}], {"type": "message"}])
def test_input_and_output_of_anything_else_are_no_format(output: object) -> None:
    row = Row(place=Place(source="rows.jsonl", number=1, unit="line"), columns={"input": "Hi", "output": output})
    rename = "rename them, columns='prompt=input,completion=output', or write messages"  # of texts, of messages
    with pytest.raises(
        InputError, match=rename if isinstance(output, str) else "or items that have a type, .*or write"
    ):
        format_of(row)
    with pytest.raises(InputError, match="or items that have a type" if isinstance(output, dict) else rename):
        format_of(
            Row(place=row.place, columns={"input": "Hi" if isinstance(output, dict) else [USER], "output": output})
        )


def test_speakers_as_langchain_names_them_are_roles() -> None:
    said = [{"type": "human", "content": "Hi"}, {"type": "ai", "content": "Hello", "tool_calls": []}]
    assert messages(messages=said) == [USER, ASSISTANT]


def test_an_output_goes_on_with_the_answer_that_the_input_began() -> None:
    begun = {**MESSAGE, "content": [{"type": "output_text", "text": "Well. "}]}
    whole = {"role": "assistant", "content": "Well. Hello", "prefill": "Well. "}
    assert messages(input=[USER, begun], output=[MESSAGE]) == [USER, whole]
    called = {"role": "assistant", "content": "Well. ", "prefill": "Well. ", "tool_calls": [CALL_1]}
    assert messages(input=[USER, begun], output=[FUNCTION_CALL]) == [USER, called]
    with pytest.raises(InputError, match="input must end in a text where the output goes on with it, got tool_calls"):
        messages(input=[USER, FUNCTION_CALL], output=[MESSAGE])


@pytest.mark.parametrize(
    "items", [[REASONING], [REASONING, {"type": "message", **USER}, MESSAGE], [MESSAGE, REASONING], [REASONING, OUTPUT]]
)
def test_a_reasoning_that_leads_to_nothing_is_refused(items: list[object]) -> None:
    where = items.index(REASONING)
    rule = "must be followed by a message or a call of the assistant, got a reasoning alone"
    for columns in ({"messages": [USER, *items]}, {"input": "Hi", "output": items}):
        at = rf"messages\[{where + 1}\]" if "messages" in columns else rf"output\[{where}\]"
        with pytest.raises(InputError, match=f"{at} {rule}"):
            messages(**columns)
    with pytest.raises(InputError, match=rf"input\[1\] {rule}"):
        messages(input=[USER, REASONING], output=[MESSAGE])


def test_an_input_that_begins_with_a_bracket_is_a_text_and_one_that_is_json_of_items_is_items() -> None:
    for text in ("[draft] hi", "{name} asks", "[1, 2] are numbers", "{'role': 'user'}"):
        assert messages(input=text, output=[MESSAGE])[0] == {"role": "user", "content": text}
    for value in ([USER], USER, [{"type": "message", **USER}]):
        assert messages(input=json.dumps(value), output=[MESSAGE])[0] == USER
    with pytest.raises(InputError, match="input must be JSON where it is a string"):
        messages(input='[{"role": "user", "content": "Hi"}', output=[MESSAGE])
