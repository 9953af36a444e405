"""Whatever a row holds, it becomes a sample or is refused in one printable line that begins with its place."""

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lmhead.data.formats.content_blocks import METADATA
from lmhead.data.formats.formats import FORMATS, format_of
from lmhead.data.formats.sample import ChatSample
from lmhead.data.rows.row import Place, Row
from lmhead.errors import InputError
from lmhead.labels.conversation.roles import KNOWN, ROLES
from lmhead.labels.conversation.turn_flags import FLAGS

PLACE = Place(source="rows.jsonl", number=1, unit="line")
WORDS = ("", "a", "null", "[]", "{}", '[{"name": "f"}]', "\ud800", *KNOWN, "assitant", "text", "function")
KEYS = (
    *("role", "content", "from", "value", "train", "loss", "weight", "reasoning", "thinking", "tool_calls", "type"),
    *("function_call", "function", "name", "arguments", "parameters", "text", "tool_call_id", "image", "id"),
    *("refusal", "tool_plan", "prefill", "thinking", "summary", "source", "input", "output", "call_id", "is_error"),
    *FLAGS,
)
BLOCKS = (
    *("text", "input_text", "output_text", "refusal", "thinking", "reasoning", "redacted_thinking", "document"),
    *("tool_use", "tool_result", "tool_call", "tool-call", "tool-result", "function_call", "function_call_output"),
    *("custom_tool_call", "message", "image", "image_url", "input_audio", "file", "human", "ai", "x"),
)
COLUMNS = (
    *(
        "messages",
        "conversations",
        "prompt",
        "completion",
        "instruction",
        "input",
        "output",
        "history",
        "system",
        "text",
    ),
    *("tools", "functions", "chat_template_kwargs", "input_ids", "labels", "attention_mask", "completion_mask"),
    *("position_ids", "seq_lengths", "response", "id"),
)
SCALARS = st.none() | st.booleans() | st.integers() | st.integers(0, 3) | st.floats() | st.sampled_from(WORDS)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
FLAG = st.sampled_from([None, True, False, 0, 1, 0.0, 1.0, 0.5, 2, "true", "1", float("nan"), -1])
BLOCK = st.builds(
    lambda kind, rest: {"type": kind, **rest},
    st.sampled_from(BLOCKS),
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4),
)
ENTRIES = st.lists(
    st.builds(
        lambda role, content, flags, rest: {"role": role, "content": content, **flags, **rest},
        st.sampled_from((*KNOWN, "narrator", None)),
        VALUES | st.lists(BLOCK, max_size=3),
        st.dictionaries(st.sampled_from(FLAGS), FLAG, max_size=2),
        st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=2),
    )
    | BLOCK,
    max_size=3,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {}, optional={"role": st.sampled_from((*KNOWN, "narrator")), **dict.fromkeys(KEYS[1:], VALUES)}
    ),
    max_size=3,
)
ROWS = st.dictionaries(st.sampled_from(COLUMNS), VALUES | MESSAGES | ENTRIES, max_size=6)


@given(ROWS)
def test_a_row_becomes_a_sample_or_a_refusal_in_one_line(columns: dict[str, Any]) -> None:
    row = Row(place=PLACE, columns={name: value for name, value in columns.items() if value is not None})
    for name in (None, *FORMATS):
        try:
            sample = format_of(row, name).read(row)
        except InputError as error:
            message = str(error)
            assert message.startswith("rows.jsonl, line 1: ")
            assert "\n" not in message
            message.encode()
        else:
            assert sample.place == PLACE
            if isinstance(sample, ChatSample):
                check_messages(sample)


def check_messages(sample: ChatSample) -> None:
    """Messages as labelling takes them: strings, calls in one form, and no flag but train and weight."""
    for message in sample.messages:
        assert message["role"] in (*ROLES, "narrator")
        assert isinstance(message.get("content", ""), str)
        assert isinstance(message.get("reasoning_content", ""), str)
        assert all(isinstance(call["function"]["arguments"], dict) for call in message.get("tool_calls", ()))
        assert {key for key in FLAGS if key in message} <= {"train", "weight"}
        assert isinstance(message.get("train", True), bool)
        assert message["role"] == "assistant" or message.get("train") is not True


PARTS = ("text", "thinking", "reasoning", "refusal", "content", "summary", "name", "input", "output", "arguments", "id")
OTHER = ("caption", "title", "tool_use_id", "call_id", "tool_call_id", "signature", "citations", "data")
LIKELY = st.builds(
    lambda kind, rest: {"type": kind, **rest},
    st.sampled_from(BLOCKS),
    st.dictionaries(
        st.sampled_from((*PARTS, *OTHER)),
        st.recursive(
            st.just(""),
            lambda inner: (
                st.lists(st.just("") | st.fixed_dictionaries({"type": st.just("text"), "text": inner}), max_size=2)
                | st.dictionaries(st.sampled_from((*PARTS, *OTHER)), inner, max_size=2)
            ),
            max_leaves=3,
        ),
        max_size=4,
    ),
)


def numbered(value: Any, numbers: Iterator[int]) -> Any:
    """The value with each of its texts made unlike all others."""
    if isinstance(value, dict):
        return {key: item if key == "type" else numbered(item, numbers) for key, item in value.items()}
    if isinstance(value, list):
        return [numbered(item, numbers) for item in value]
    return f"<{next(numbers)}>" if value == "" else value


def texts(value: Any) -> Iterator[str]:
    """The texts of a value, but for those under keys that hold nothing for a model."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from () if key in METADATA else texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


@given(st.lists(LIKELY, min_size=1, max_size=2), st.sampled_from(["user", "assistant", "tool"]))
def test_no_text_of_a_block_is_lost(blocks: list[Any], role: str) -> None:
    blocks = numbered(blocks, count())
    row = Row(place=PLACE, columns={"messages": [{"role": role, "content": blocks}]})
    try:
        sample = FORMATS["messages"].read(row)
    except InputError:
        return
    assert isinstance(sample, ChatSample)
    read = json.dumps(sample.messages)
    for block in blocks:
        whole = any(key in block for key in ("text", "thinking", "reasoning", "content"))
        kept = {key: item for key, item in block.items() if key != "summary" or not whole}
        assert all(text in read for text in texts(kept))
