"""Conversations drawn at random from all that people write, in words and numbers that occur once."""

import json
from itertools import count

from hypothesis import strategies as st

SURROUNDINGS = st.sampled_from(
    [
        "{}",
        "{}",
        "{}",
        " {} ",
        "{}\n",
        "say {} now",
        '"{}"',
        "it's {}",
        "a\\{}",
        "<b>{}</b>",
        "é {} 日本",
        "{} \U0001f600",
    ]
)


@st.composite
def conversations(draw):
    """(messages, tools): questions, answers of every form, calls and what the tools answer."""
    numbers = count(5000)

    def text():
        return draw(SURROUNDINGS).format(f"word{next(numbers)}")

    def value(depth=0):
        kind = draw(st.sampled_from(["text", "text", "int", "float", "bool", "null", "list", "object", "empty"]))
        deeper = depth < 2
        if kind == "list" and deeper:
            return [value(depth + 1) for _ in range(draw(st.integers(0, 3)))]
        if kind == "object" and deeper:
            return arguments(depth + 1)
        simple = {"int": next(numbers), "float": next(numbers) + 0.5, "bool": draw(st.booleans()), "null": None}
        return simple.get(kind, "" if kind == "empty" else text())

    def arguments(depth=0):
        return {f"key{next(numbers)}": value(depth) for _ in range(draw(st.integers(0, 3)))}

    def written(content, form):
        return [{"type": "text", "text": content}] if form == "blocks" else content

    def call(name, number):
        given = arguments()
        if draw(st.integers(0, 3)) == 0:
            given = json.dumps(given, ensure_ascii=draw(st.booleans()))
        return {"id": number, "type": "function", "function": {"name": name, "arguments": given}}

    def answer(allowed):
        message = {
            "role": "assistant",
            "content": written(text(), draw(st.sampled_from(["string", "string", "blocks"]))),
        }
        kind = draw(st.sampled_from(["plain", "plain", "field", "block", "prefill", "not learnt", "keys", "nulls"]))
        if kind == "field":
            message["reasoning_content"] = text().strip()
        elif kind == "block":
            thinking = {"type": "thinking", "thinking": text().strip()}
            message["content"] = [thinking, {"type": "text", "text": text()}]
        elif kind == "prefill":
            begun = f"begun{next(numbers)}"
            message |= {"content": f"{begun} and {text()}", "prefill": begun}
        elif kind == "not learnt" and allowed:
            message["train"] = False
        elif kind == "keys":
            message |= {"weight": 0.5, "id": f"m{next(numbers)}"}
        elif kind == "nulls":
            message |= {"reasoning_content": None, "tool_calls": None, "name": None}
        return message

    messages = []
    if draw(st.integers(0, 2)) == 0:
        messages.append({"role": "system", "content": text()})
    with_tools = draw(st.booleans())
    rounds = draw(st.integers(1, 3))
    for turn in range(rounds):
        messages.append({"role": "user", "content": written(text(), draw(st.sampled_from(["string", "blocks"])))})
        for _ in range(draw(st.integers(0, 2)) if with_tools else 0):
            names = [f"tool{next(numbers)}" for _ in range(draw(st.integers(1, 3)))]
            calls = [call(name, f"call{next(numbers):05}") for name in names]
            content = draw(st.sampled_from([{"content": ""}, {"content": None}, {}, {"content": text()}]))
            thought = {"reasoning_content": text().strip()} if draw(st.booleans()) else {}
            messages.append({"role": "assistant", **content, **thought, "tool_calls": calls})
            for name, made in zip(names, calls, strict=True):
                messages.append({"role": "tool", "name": name, "tool_call_id": made["id"], "content": text()})
        messages.append(answer(turn < rounds - 1))
    tools = [tool(text) for _ in range(draw(st.integers(1, 2)))] if with_tools and draw(st.booleans()) else None
    return messages, tools


def tool(text):
    """A schema in words of its own."""
    names = [text().strip('"').split()[-1] for _ in range(2)]
    said = {"type": "string", "description": text().strip()}
    inner = {"type": "object", "properties": {"deep": {"type": "string", "enum": ["one", text().strip()]}}}
    parameters = {"type": "object", "properties": {"where": said, "how": inner}, "required": ["where"]}
    function = {"name": f"named{len(names[0])}", "description": text().strip(), "parameters": parameters}
    return {"type": "function", "function": function}
