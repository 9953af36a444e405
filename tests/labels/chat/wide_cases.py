"""Further kinds of conversation: what people write beside strings, in every form in which they write it."""

import json

from tests.labels.chat.chat_cases import ASK, GO_ON, REPLY, THEN, WEATHER, answer, assistant, call, user

EVERY_TYPE = {
    "city": "Parisjuliet",
    "count": 7741,
    "ratio": -2.625,
    "tiny": 1e-07,
    "flag": True,
    "off": False,
    "none": None,
    "nested": {"deep": "quebec", "list": [4407, "romeo", {"inner": True}], "empty": {}},
    "items": ["sierra", "tango"],
    "quotes": "say \"uniform\" 'victor' \\ {é, 日本, \U0001f600}",
    "lines": "whiskey\nxray",
}
OTHER_TYPES = {"zone": "yankee", "list": [], "level": 0.5, "ids": [81, 82.5], "none": [None]}
SCHEMA = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather, zephyr.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Which city, zulu", "enum": ["Parisjuliet", "Oslovictor"]},
                "count": {"type": "integer", "description": "How many, zenith", "default": 7741},
                "nested": {
                    "type": "object",
                    "properties": {"deep": {"type": "string", "description": "How deep, zebra"}},
                    "required": ["deep"],
                },
                "items": {"type": "array", "items": {"type": "string", "description": "Which, zircon"}},
            },
            "required": ["city"],
        },
    },
}


def called(arguments, number="abcdef123", name="get_weather"):
    return {"id": number, "type": "function", "function": {"name": name, "arguments": arguments}}


def trace(steps):
    """A call and what the tool answers, again and again, and an answer."""
    turns = [ASK]
    for step in range(steps):
        number = f"call{step:05}"
        turns += [
            assistant("", tool_calls=[called({"city": f"Cityword{step}", "count": 5000 + step}, number)]),
            {"role": "tool", "name": "get_weather", "tool_call_id": number, "content": f"degrees word{step}"},
        ]
    return [*turns, REPLY]


THINKING = {"type": "thinking", "thinking": "hotel thought"}
TEXT = {"type": "text", "text": "Reply bravo two"}
USE = {"type": "tool_use", "id": "abcdef123", "name": "get_weather", "input": {"city": "Parisjuliet", "count": 7741}}
RESULT = {"type": "tool_result", "tool_use_id": "abcdef123", "content": [{"type": "text", "text": "kilo degrees"}]}
ANSWERED = [answer("kilo degrees"), REPLY]
WIDE_CASES = {
    "every type": [ASK, assistant("", tool_calls=[called(EVERY_TYPE)]), *ANSWERED],
    "json arguments": [ASK, assistant("", tool_calls=[called(json.dumps(EVERY_TYPE, ensure_ascii=False))]), *ANSWERED],
    "no arguments": [ASK, assistant("", tool_calls=[called({})]), *ANSWERED],
    "parallel": [
        ASK,
        assistant("", tool_calls=[called(EVERY_TYPE), called(OTHER_TYPES, "bcdefg234", "get_clock")]),
        answer("kilo degrees"),
        {"role": "tool", "name": "get_clock", "tool_call_id": "bcdefg234", "content": "lima clock"},
        REPLY,
    ],
    "text and call": [ASK, assistant("Let mike look", tool_calls=[called(OTHER_TYPES)]), *ANSWERED],
    "thought and call": [
        ASK,
        assistant("", reasoning_content="hotel thought", tool_calls=[call("Parisjuliet")]),
        *ANSWERED,
    ],
    "null content": [ASK, {**assistant(None), "tool_calls": [call("Parisjuliet")]}, *ANSWERED],
    "no content": [ASK, {"role": "assistant", "tool_calls": [call("Parisjuliet")]}, *ANSWERED],
    "ends in call": [ASK, assistant("", tool_calls=[call("Parisjuliet")])],
    "trace": trace(6),
    "two answers": [ASK, REPLY, GO_ON, user("Last echo five"), assistant("Reply foxtrot six")],
    "empty answer": [ASK, assistant(""), THEN, GO_ON],
    "empty last": [ASK, REPLY, THEN, assistant("")],
    "thinking block": [ASK, assistant([THINKING, TEXT])],
    "thinking between": [ASK, assistant([{"type": "text", "text": "First november"}, THINKING, TEXT])],
    "text blocks": [user([{"type": "text", "text": "Ask alpha "}, {"type": "text", "text": "one"}]), assistant([TEXT])],
    "tool blocks": [ASK, assistant([USE]), {"role": "user", "content": [RESULT]}, REPLY],
    "text and tool blocks": [ASK, assistant([TEXT, USE]), {"role": "user", "content": [RESULT]}, GO_ON],
    "other blocks": [
        user([{"type": "input_text", "text": "Ask alpha one"}]),
        assistant([{"type": "output_text", "text": "Reply bravo two", "annotations": []}]),
    ],
    "unknown block": [ASK, assistant([TEXT, {"type": "poem", "poem": "Oscar verse"}])],
    "image": [user([{"type": "image_url", "image_url": {"url": "https://papa.png"}}, *user([TEXT])["content"]]), GO_ON],
    "prefilled": [ASK, assistant("Reply bravo two and oscar three", prefill="Reply bravo two"), THEN, GO_ON],
    "prefilled last": [ASK, REPLY, THEN, assistant("Reply delta four and oscar", prefill="Reply delta")],
    "not learnt": [ASK, assistant("Reply papa nine", train=False), THEN, GO_ON],
    "nulls": [{**ASK, "tool_calls": None, "name": None}, {**REPLY, "reasoning_content": None, "tool_calls": None}],
    "keys": [{**ASK, "timestamp": 5, "id": "u1"}, {**REPLY, "weight": 0.5, "model": "m1", "context": "papa context"}],
    "foreign role": [ASK, {"role": "critic", "content": "Quebec critique"}, REPLY],
    "looks like code": [ASK, assistant("Write {'key': True, 'none': None} or [\"a\", 'b'] or {\\\"x\\\": 1}")],
    "schema": [ASK, assistant("", tool_calls=[call("Parisjuliet")]), *ANSWERED],
}
LONG_TRACE = trace(100)
WITH_TOOLS = {"tools", "parallel", "every type", "json arguments", "no arguments", "trace", "ends in call"}


def tools_of(case):
    if case == "schema":
        return [SCHEMA]
    return [WEATHER] if case in WITH_TOOLS else None
