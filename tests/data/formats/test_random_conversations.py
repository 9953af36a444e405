"""A conversation means one thing in the words of OpenAI's chat, of its responses, of Anthropic and of ms-swift."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.data.labelling.chat_rows import PLACE

from lmhead.data.formats.formats import FORMATS
from lmhead.data.rows.row import Row

NAMES = st.sampled_from(["f", "get_weather"])
TEXTS = st.sampled_from(["a", " a ", "{", "</think>", "zwei\n", "\U0001f642"])
ARGUMENTS = st.dictionaries(TEXTS, st.none() | st.booleans() | st.integers(-9, 9) | TEXTS | st.lists(TEXTS, max_size=2))
TURNS = st.lists(
    st.fixed_dictionaries(
        {
            "asked": TEXTS,
            "thought": st.none() | TEXTS,
            "text": st.none() | TEXTS,
            "calls": st.lists(st.tuples(NAMES, ARGUMENTS, TEXTS), max_size=3),  # and what the tool answers
            "answer": TEXTS,
        }
    ),
    min_size=1,
    max_size=3,
)


def as_openai(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for number, turn in enumerate(turns):
        messages.append({"role": "user", "content": turn["asked"]})
        if turn["calls"]:
            calls = [
                {"id": f"{number}.{i}", "type": "function", "function": {"name": name, "arguments": json.dumps(values)}}
                for i, (name, values, _) in enumerate(turn["calls"])
            ]
            parts = {"content": turn["text"], "reasoning_content": turn["thought"], "tool_calls": calls}
            messages.append({"role": "assistant", **parts})
            for i, (_, _, answer) in enumerate(turn["calls"]):
                messages.append({"role": "tool", "tool_call_id": f"{number}.{i}", "content": answer})
        messages.append({"role": "assistant", "content": turn["answer"]})
    return messages


def as_anthropic(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for number, turn in enumerate(turns):
        messages.append({"role": "user", "content": [{"type": "text", "text": turn["asked"]}]})
        if turn["calls"]:
            blocks: list[dict[str, Any]] = []
            if turn["thought"] is not None:
                blocks.append({"type": "thinking", "thinking": turn["thought"], "signature": "c2ln"})
            if turn["text"] is not None:
                blocks.append({"type": "text", "text": turn["text"]})
            for i, (name, values, _) in enumerate(turn["calls"]):
                blocks.append({"type": "tool_use", "id": f"{number}.{i}", "name": name, "input": values})
            messages.append({"role": "assistant", "content": blocks})
            results = [
                {"type": "tool_result", "tool_use_id": f"{number}.{i}", "content": answer}
                for i, (_, _, answer) in enumerate(turn["calls"])
            ]
            messages.append({"role": "user", "content": results})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": turn["answer"]}]})
    return messages


def as_responses(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for number, turn in enumerate(turns):
        items.append({"role": "user", "content": [{"type": "input_text", "text": turn["asked"]}]})
        if turn["calls"] and turn["thought"] is not None:
            items.append({"type": "reasoning", "summary": [{"type": "summary_text", "text": turn["thought"]}]})
        if turn["calls"] and turn["text"] is not None:
            content = [{"type": "output_text", "text": turn["text"], "annotations": []}]
            items.append({"type": "message", "role": "assistant", "id": "m", "content": content})
        for i, (name, values, _) in enumerate(turn["calls"]):
            call = {"call_id": f"{number}.{i}", "name": name, "arguments": json.dumps(values)}
            items.append({"type": "function_call", "id": "fc", **call})
        for i, (_, _, answer) in enumerate(turn["calls"]):
            items.append({"type": "function_call_output", "call_id": f"{number}.{i}", "output": answer})
        content = [{"type": "output_text", "text": turn["answer"], "annotations": []}]
        items.append({"type": "message", "role": "assistant", "id": "m", "content": content})
    return items


def as_swift(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for turn in turns:
        messages.append({"role": "user", "content": turn["asked"]})
        if turn["calls"] and (turn["thought"] is not None or turn["text"] is not None):
            said = {"content": turn["text"], "reasoning_content": turn["thought"]}
            messages.append({"role": "assistant", **said})
        for name, values, _ in turn["calls"]:
            messages.append({"role": "tool_call", "content": json.dumps({"name": name, "arguments": values})})
        for _, _, answer in turn["calls"]:
            messages.append({"role": "tool_response", "content": answer})
        messages.append({"role": "assistant", "content": turn["answer"]})
    return messages


@given(TURNS)
def test_a_conversation_is_the_same_in_the_words_of_four_providers(turns: list[dict[str, Any]]) -> None:
    def read(messages: list[dict[str, Any]]) -> Any:
        row = Row(place=PLACE, columns={"messages": messages})
        return FORMATS["messages"].read(row)

    openai = read(as_openai(turns))
    assert read(as_anthropic(turns)) == openai
    assert read(as_responses(turns)) == openai
    assert read(json.loads(json.dumps(as_anthropic(turns)))) == openai
    ids = ("id", "tool_call_id")
    without = [{key: value for key, value in message.items() if key not in ids} for message in openai.messages]
    for message in without:
        if "tool_calls" in message:
            message["tool_calls"] = [
                {"type": call["type"], "function": call["function"]} for call in message["tool_calls"]
            ]
    assert list(read(as_swift(turns)).messages) == without
