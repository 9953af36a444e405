"""Whatever a row holds, it becomes a sample or is refused in one printable line that begins with its place."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lmhead.data.formats import FORMATS, format_of
from lmhead.data.sample import Place, Row
from lmhead.errors import InputError
from lmhead.labels.roles import KNOWN

PLACE = Place(source="rows.jsonl", number=1, unit="line")
WORDS = ("", "a", "null", "[]", "{}", '[{"name": "f"}]', "\ud800", *KNOWN, "assitant", "text", "function")
KEYS = (
    *("role", "content", "from", "value", "train", "loss", "weight", "reasoning", "thinking", "tool_calls", "type"),
    *("function_call", "function", "name", "arguments", "parameters", "text", "tool_call_id", "image", "id"),
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
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {}, optional={"role": st.sampled_from((*KNOWN, "narrator")), **dict.fromkeys(KEYS[1:], VALUES)}
    ),
    max_size=3,
)
ROWS = st.dictionaries(st.sampled_from(COLUMNS), VALUES | MESSAGES, max_size=6)


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
