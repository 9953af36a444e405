"""Blocks of any provider become the messages that they mean, and what is no text is refused."""

import json

import pytest
from tests.data.labelling.chat_rows import ASSISTANT, CALL, USER, assistant, messages, read, user

from lmhead.data.formats.sample import ChatSample
from lmhead.errors import InputError

TEXT = {"type": "text", "text": "Hello"}
TOOL_USE = {"type": "tool_use", "id": "t1", "name": "f", "input": {"city": "Bern"}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "sunny"}
THINKING = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
CALL_1 = {"id": "t1", **CALL}
ANSWER = {"role": "tool", "content": "sunny", "tool_call_id": "t1"}


def one(*blocks: object, role: str = "assistant") -> dict[str, object]:
    found = messages(messages=[USER, {"role": role, "content": list(blocks)}])
    assert len(found) == 2
    return found[1]


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (TEXT, "Hello"),
        ({"type": "input_text", "text": "Hello"}, "Hello"),
        ({"type": "output_text", "text": "Hello", "annotations": [{"url": "https://a.org"}], "logprobs": []}, "Hello"),
        ({"type": "refusal", "refusal": "No."}, "No."),
        ({"type": "text", "text": {"value": "Hello", "annotations": []}}, "Hello"),
        ({"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}, "citations": None}, "Hello"),
        ({"type": "text", "text": "Hello", "image_url": "", "video": None}, "Hello"),
        ({"text": "Hello"}, "Hello"),
        ("Hello", "Hello"),
    ],
)
def test_a_block_of_text_is_its_text(block: object, text: str) -> None:
    assert one(block) == {"role": "assistant", "content": text}
    assert one(block, block) == {"role": "assistant", "content": text + text}


@pytest.mark.parametrize(
    "block",
    [
        THINKING,
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "reasoning", "text": "hm", "providerMetadata": {"a": {"signature": "x"}}},
        {"type": "reasoning", "reasoning": "hm"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gA"},
    ],
)
def test_a_block_of_thinking_is_the_reasoning(block: object) -> None:
    assert one(block, TEXT) == {**ASSISTANT, "reasoning_content": "hm"}
    assert one(block) == {"role": "assistant", "reasoning_content": "hm"}
    assert one(block, block, TEXT) == {**ASSISTANT, "reasoning_content": "hm\n\nhm"}


@pytest.mark.parametrize(
    "block",
    [
        TOOL_USE,
        {**TOOL_USE, "type": "server_tool_use", "caller": {"type": "direct"}},
        {"type": "tool_call", "id": "t1", "name": "f", "args": {"city": "Bern"}},
        {"type": "tool-call", "toolCallId": "t1", "toolName": "f", "args": {"city": "Bern"}},
        {"type": "tool-call", "toolCallId": "t1", "toolName": "f", "input": {"city": "Bern"}},
        {"type": "function_call", "id": "fc", "call_id": "t1", "name": "f", "arguments": '{"city": "Bern"}'},
    ],
)
def test_a_block_of_a_call_is_a_call_of_the_message(block: object) -> None:
    assert one(TEXT, block) == {**ASSISTANT, "tool_calls": [CALL_1]}
    assert one(block) == {"role": "assistant", "tool_calls": [CALL_1]}
    assert one(block, block) == {"role": "assistant", "tool_calls": [CALL_1, CALL_1]}
    assert one(THINKING, TEXT, block) == {**ASSISTANT, "reasoning_content": "hm", "tool_calls": [CALL_1]}


def test_calls_that_stand_in_blocks_and_beside_them_are_taken_once() -> None:
    message = {**assistant(TEXT, TOOL_USE), "tool_calls": [{"id": "t1", "name": "f", "args": {"city": "Bern"}}]}
    assert messages(messages=[USER, message])[1] == {**ASSISTANT, "tool_calls": [CALL_1]}
    other = {**message, "tool_calls": [{"id": "t2", "name": "g", "args": {}}]}
    with pytest.raises(InputError, match=r"messages\[1\] must have its calls once, got others in content"):
        messages(messages=[USER, other])


@pytest.mark.parametrize(
    ("block", "answer"),
    [
        (RESULT, ANSWER),
        ({**RESULT, "content": [{"type": "text", "text": "sun"}, {"type": "text", "text": "ny"}]}, ANSWER),
        ({**RESULT, "content": None}, {**ANSWER, "content": ""}),
        ({**RESULT, "is_error": False, "cache_control": {"type": "ephemeral"}}, ANSWER),
        (
            {**RESULT, "content": "no such city", "is_error": True},
            {**ANSWER, "content": "no such city", "is_error": True},
        ),
        ({"type": "tool-result", "toolCallId": "t1", "toolName": "f", "result": "sunny"}, ANSWER),
        ({"type": "tool-result", "toolCallId": "t1", "output": {"type": "text", "value": "sunny"}}, ANSWER),
        ({"type": "function_call_output", "call_id": "t1", "output": "sunny"}, ANSWER),
    ],
)
def test_a_block_of_an_answer_is_a_tools_message(block: object, answer: dict[str, object]) -> None:
    for asked in (user(block), {"role": "tool", "content": [block]}):
        assert messages(messages=[USER, assistant(TOOL_USE), asked, ASSISTANT]) == [
            USER,
            {"role": "assistant", "tool_calls": [CALL_1]},
            answer,
            ASSISTANT,
        ]


def test_answers_and_texts_of_one_message_keep_their_order() -> None:
    asked = {**user(RESULT, {**RESULT, "tool_use_id": "t2"}, TEXT, TEXT), "name": "bob", "train": False}
    found = messages(messages=[USER, assistant(TOOL_USE), asked])
    wanted = {"role": "user", "name": "bob", "train": False, "content": "HelloHello"}
    assert found[2:] == [ANSWER, {**ANSWER, "tool_call_id": "t2"}, wanted]


def test_a_call_and_its_answer_in_one_message_of_the_assistant_are_messages_in_turn() -> None:
    message = {**assistant(TEXT, {**TOOL_USE, "type": "mcp_tool_use"}, {**RESULT, "type": "mcp_tool_result"}, TEXT)}
    found = messages(messages=[USER, {**message, "weight": 0.5}])
    half = {**ASSISTANT, "weight": 0.5}
    assert found == [USER, {**half, "tool_calls": [CALL_1]}, ANSWER, half]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ({"type": "text", "media_type": "text/plain", "data": "Dogs bark."}, "Dogs bark.\n\nHello"),
        ({"type": "content", "content": [{"type": "text", "text": "Dogs bark."}]}, "Dogs bark.\n\nHello"),
        ({"type": "content", "content": "Dogs bark."}, "Dogs bark.\n\nHello"),
    ],
)
def test_a_document_that_is_a_text_is_its_text(source: object, text: str) -> None:
    document = {"type": "document", "source": source, "citations": {"enabled": True}}
    assert one(document, TEXT, role="user") == {"role": "user", "content": text}
    titled = {**document, "title": "Dogs", "context": "A book."}
    assert one(titled, TEXT, role="user") == {"role": "user", "content": f"Dogs\nA book.\n{text}"}


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "input_image", "image_url": "https://example.org/a.png"},
        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
        {"type": "audio", "audio_url": "a.wav"},
        {"type": "video", "video": "a.mp4"},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_file", "file_data": "JVBE"},
    ],
)
def test_what_is_no_text_is_refused_wherever_it_stands(block: dict[str, object]) -> None:
    remedy = "a language model reads text alone; write what it shows or says as text, or leave the row out"
    for message in (user(TEXT, block), assistant(block), user({**RESULT, "content": [TEXT, block]})):
        with pytest.raises(InputError, match=rf"must be text, got a block of type '{block['type']}': {remedy}"):
            messages(messages=[USER, message])


@pytest.mark.parametrize("source", [{"type": "base64", "data": "JVBE"}, {"type": "url", "url": "a"}, "a.pdf", None])
def test_a_document_that_is_no_text_is_refused(source: object) -> None:
    with pytest.raises(InputError, match=r"content\[0\].source.type must be text or content, got .*reads text alone"):
        one({"type": "document", "source": source}, role="user")


@pytest.mark.parametrize("kind", ["web_search_tool_result", "thinkin", "", 3, [], {"a": 1}])
def test_a_block_that_nobody_knows_is_refused(kind: object) -> None:
    rule = (
        r"messages\[1\].content\[0\].type must be one of text, input_text, output_text, refusal, thinking, reasoning, "
    )
    with pytest.raises(InputError, match=rule):
        one({"type": kind, "text": "a"})


@pytest.mark.parametrize(
    ("block", "got"), [({"toolUse": {"name": "f"}}, "the keys toolUse"), ({}, "an empty object"), (3, "3")]
)
def test_what_is_no_block_is_refused(block: object, got: str) -> None:
    with pytest.raises(InputError, match=rf"content\[0\] must be a block such as .*, got {got}: write it so"):
        one(block)


def test_encrypted_thinking_is_refused_with_two_ways_on() -> None:
    with pytest.raises(
        InputError, match=r"must hold text, got redacted_thinking: .* drop the block to learn the answer"
    ):
        one({"type": "redacted_thinking", "data": "RXVo"}, TEXT)


@pytest.mark.parametrize(
    ("block", "key"),
    [
        ({**TEXT, "caption": "A dog"}, "caption"),
        ({**THINKING, "text": "other"}, "text"),
        ({**TOOL_USE, "note": ["a"]}, "note"),
        ({"type": "document", "source": {"type": "text", "data": "a"}, "notes": {"a": "b"}}, "notes"),
    ],
)
def test_a_text_under_a_key_that_nothing_reads_is_refused(block: object, key: str) -> None:
    with pytest.raises(
        InputError, match=rf"content\[0\].{key} must be a key that is read, got .*: move what the model"
    ):
        one(block)


@pytest.mark.parametrize(
    "blocks", [(TEXT, THINKING), (TOOL_USE, TEXT), (TOOL_USE, THINKING), (THINKING, TEXT, THINKING)]
)
def test_a_turn_in_an_order_that_no_template_writes_is_refused(blocks: tuple[object, ...]) -> None:
    with pytest.raises(InputError, match=r"must stand in the order reasoning, text, calls, got .* behind "):
        one(*blocks)
    empty = [{**block, key: ""} for block in blocks for key in ("text", "thinking") if key in block]  # type: ignore
    assert "content" in one(*empty, TEXT)


@pytest.mark.parametrize("block", [THINKING, TOOL_USE])
@pytest.mark.parametrize("role", ["user", "system", "tool"])
def test_only_an_assistant_thinks_and_calls(block: object, role: str) -> None:
    with pytest.raises(InputError, match=f"must be in an assistant's message, got it in one of {role}"):
        one(TEXT, block, role=role)


def test_reasoning_in_blocks_and_beside_them_is_taken_once() -> None:
    message = {**assistant(THINKING, TEXT), "reasoning_content": "hm"}
    assert messages(messages=[USER, message])[1] == {**ASSISTANT, "reasoning_content": "hm"}
    with pytest.raises(InputError, match="must have one reasoning, got another in content than beside it"):
        messages(messages=[USER, {**message, "reasoning_content": "other"}])


def test_a_refusal_of_openai_is_what_the_assistant_says() -> None:
    refused = {"role": "assistant", "content": None, "refusal": "No."}
    assert messages(messages=[USER, refused])[1] == {"role": "assistant", "content": "No."}
    assert messages(messages=[USER, {**ASSISTANT, "refusal": None}])[1] == ASSISTANT
    with pytest.raises(InputError, match="must have a content or a refusal, got both"):
        messages(messages=[USER, {**ASSISTANT, "refusal": "No."}])


@pytest.mark.parametrize("content", [None, ...])
def test_a_tool_that_returned_nothing_returned_no_text(content: object) -> None:
    answer = {"role": "tool", "tool_call_id": "t1", "content": content}
    answer = {key: value for key, value in answer.items() if value is not ...}
    assert messages(messages=[USER, assistant(TOOL_USE), answer])[2] == {**ANSWER, "content": ""}
    with pytest.raises(InputError, match="rename output to content"):
        messages(messages=[USER, assistant(TOOL_USE), {"role": "tool", "output": "sunny"}])


def test_a_conversation_of_anthropic_is_the_same_one_of_openai() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    anthropic = read(
        system=[{"type": "text", "text": "Be brief."}],
        tools=[{"name": "f", "description": "d", "input_schema": schema}],
        messages=[
            user({"type": "text", "text": "Weather?"}),
            assistant(THINKING, TEXT, TOOL_USE, {**TOOL_USE, "id": "t2"}),
            user(RESULT, {**RESULT, "tool_use_id": "t2"}, {"type": "text", "text": "Go on"}),
            assistant({"type": "text", "text": "Sunny."}),
        ],
    )
    call = {"type": "function", "function": {"name": "f", "arguments": json.dumps({"city": "Bern"})}}
    openai = read(
        tools=[{"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}}],
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather?"},
            {**ASSISTANT, "reasoning_content": "hm", "tool_calls": [{"id": "t1", **call}, {"id": "t2", **call}]},
            {"role": "tool", "tool_call_id": "t1", "content": "sunny"},
            {"role": "tool", "tool_call_id": "t2", "content": "sunny"},
            {"role": "user", "content": "Go on"},
            {"role": "assistant", "content": "Sunny."},
        ],
    )
    assert isinstance(anthropic, ChatSample)
    assert anthropic == openai
