"""Calls that stand in a text become tool_calls, with the reasoning and the text before them; all else is refused."""

import json

import pytest
from tests.data.labelling.chat_rows import ASSISTANT, CALL, USER, messages

from lmhead.errors import InputError

JSON = json.dumps(CALL["function"])
TOOL = {"role": "tool", "content": "sunny"}
CALLED = {"role": "assistant", "tool_calls": [CALL]}
TWICE = {"role": "assistant", "tool_calls": [CALL, CALL]}


def sharegpt(value: object) -> dict[str, object]:
    turns = [{"from": "human", "value": "Hi"}, {"from": "function_call", "value": value}]
    found = messages(conversations=turns)
    assert len(found) == 2
    assert found == messages(messages=[USER, {"role": "tool_call", "content": value}])  # one way of reading
    return found[1]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (JSON, CALLED),
        (f" {JSON}\n", CALLED),
        (f"[{JSON}, {JSON}]", TWICE),
        (f"{JSON}\n{JSON}", TWICE),
        (json.dumps([CALL, CALL]), TWICE),
        (f"<tool_call>\n{JSON}\n</tool_call>", CALLED),
        (f"<tool_call>{JSON}</tool_call>\n<tool_call>{JSON}</tool_call>\n", TWICE),
        (CALL["function"], CALLED),
        ([CALL["function"], CALL], TWICE),
    ],
)
def test_calls_are_read_in_every_form(value: object, message: dict[str, object]) -> None:
    assert sharegpt(value) == message


@pytest.mark.parametrize(
    "thought",
    [
        "<think>\nI need it.\n</think>\n\n",
        "<think>I need it.</think>",
        "<thinking>I need it.</thinking>\n",
        "[THINK]I need it.[/THINK]",
        "I need it.\n</think>\n\n",
        "<think>I need it.\n</think>  ",
    ],
)
@pytest.mark.parametrize("calls", [JSON, f"<tool_call>\n{JSON}\n</tool_call>"])
def test_reasoning_is_split_off_and_then_the_text(thought: str, calls: str) -> None:
    reasoned = {"role": "assistant", "reasoning_content": "I need it.", "tool_calls": [CALL]}
    assert sharegpt(thought + calls) == reasoned
    assert sharegpt(f"{thought}Let me look.\n{calls}") == {**reasoned, "content": "Let me look."}
    assert sharegpt(f"Let me look.\n{calls}") == {**CALLED, "content": "Let me look."}
    assert sharegpt(f"<think>\n\n</think>\n\n{calls}") == CALLED


def test_tags_in_an_argument_are_text() -> None:
    call = {"name": "f", "arguments": {"text": "</think> <tool_call>"}}
    wanted = {"type": "function", "function": call}
    assert sharegpt(json.dumps([call]))["tool_calls"] == [wanted]
    assert sharegpt(json.dumps(call))["tool_calls"] == [wanted]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("f(1)", "must be JSON where it is a string, got 'f\\(1\\)'"),
        ("{'name': 'f', 'arguments': {}}", "Expecting property name .*; write it with json.dumps"),
        (f"{JSON} and now wait", "must be JSON where it is a string, got .*: Extra data"),
        (f"<tool_call>{JSON}</tool_call> and now", "must end with its calls, got 'and now'"),
        (f"<tool_call>{JSON}", "must end with its calls, got '<tool_call>"),
        (f'{{"name": "f", "arguments": {JSON}', "must be JSON where it is a string"),  # the argument is no call
        ("[]", "must hold at least one call, got '\\[\\]'"),
        ("", "must hold at least one call, got ''"),
        ("<think>I need it.</think>", "must hold at least one call, got '<think>I need it.</think>'"),
        ("Let me look.", "must be JSON where it is a string, got 'Let me look.'"),
        ("[1]", r"must be a call such as "),
        ('{"arguments": {}}', "must have a name, got the keys arguments"),
        (3, "must be a list of calls, got 3"),
    ],
)
def test_what_holds_no_call_is_refused(value: object, message: str) -> None:
    turns = [{"from": "human", "value": "Hi"}, {"from": "function_call", "value": value}]
    with pytest.raises(InputError, match=rf"^rows.jsonl, line 1: conversations\[1\].value.*{message}"):
        messages(conversations=turns)
    with pytest.raises(InputError, match=rf"^rows.jsonl, line 1: messages\[1\].content.*{message}"):
        messages(messages=[USER, {"role": "tool_call", "content": value}])


@pytest.mark.parametrize("answer", ["tool_response", "tool", "tool_result", "observation", "function"])
def test_calls_in_a_row_are_one_turn_with_the_text_before_them(answer: str) -> None:
    call = {"role": "tool_call", "content": JSON}
    answers = [{"role": answer, "content": "sunny"}, {"role": answer, "content": "sunny"}]
    assert messages(messages=[USER, call, call, *answers, ASSISTANT]) == [USER, TWICE, TOOL, TOOL, ASSISTANT]
    assert messages(messages=[USER, ASSISTANT, call, call]) == [USER, {**ASSISTANT, **TWICE}]
    assert messages(messages=[USER, call, ASSISTANT]) == [USER, CALLED, ASSISTANT]
    assert messages(messages=[USER, call, answers[0], call]) == [USER, CALLED, TOOL, CALLED]


def test_a_turn_of_several_messages_says_one_thing_of_its_training() -> None:
    call = {"role": "tool_call", "content": JSON}
    found = messages(messages=[USER, {**ASSISTANT, "loss": False}, {**call, "loss": False}])
    assert found == [USER, {**ASSISTANT, **CALLED, "train": False}]
    for flags in ({"loss": False}, {"weight": 0.5}):
        with pytest.raises(InputError, match=r"messages\[2\] must say of its training what the message before it says"):
            messages(messages=[USER, ASSISTANT, {**call, **flags}])


def test_a_call_with_a_reasoning_of_its_own_is_a_turn_of_its_own() -> None:
    thought = {"role": "tool_call", "content": f"<think>hm</think>{JSON}"}
    reasoned = {**CALLED, "reasoning_content": "hm"}
    assert messages(messages=[USER, thought, thought]) == [USER, reasoned, reasoned]
    with pytest.raises(InputError, match="must have one reasoning"):
        messages(messages=[USER, {**thought, "reasoning_content": "other"}])


def test_a_custom_call_has_its_text_as_the_argument_input() -> None:
    wanted = {"id": "c1", "type": "function", "function": {"name": "patch", "arguments": {"input": "*** Begin"}}}
    custom = {"id": "c1", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}}
    assert messages(messages=[USER, {"role": "assistant", "tool_calls": [custom]}])[1]["tool_calls"] == [wanted]
    with pytest.raises(InputError, match="custom must hold a name and an input that is a string"):
        messages(messages=[USER, {"role": "assistant", "tool_calls": [{"type": "custom", "custom": {"name": "f"}}]}])


@pytest.mark.parametrize("text", ["</tool_call>", "<tool_call>", "</think></tool_call>\n<tool_call>{}"])
def test_a_tag_in_an_argument_between_tags_ends_no_call(text: str) -> None:
    call = {"name": "f", "arguments": {"text": text}}
    tagged = f"<tool_call>\n{json.dumps(call)}\n</tool_call>"
    wanted = {"type": "function", "function": call}
    assert sharegpt(tagged) == {"role": "assistant", "tool_calls": [wanted]}
    both = {"role": "assistant", "content": "Look.", "tool_calls": [wanted, wanted]}
    assert sharegpt(f"Look.{tagged}\n{tagged}") == both


def test_what_is_wrong_with_a_call_behind_a_text_is_told_of_the_call() -> None:
    with pytest.raises(InputError, match=r"""must be JSON where it is a string, got '\{"name": "f", .*at character"""):
        messages(messages=[USER, {"role": "tool_call", "content": f"Let me look. {JSON[:-3]}"}])
