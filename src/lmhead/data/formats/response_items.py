"""Items of OpenAI's responses -> messages, or parts of an assistant's message that several items make.

A reasoning opens the assistant's message that follows it, and a call goes on with the one before it: in a chat they are
one turn. What a provider's own tools did (a web search, a computer's screen) is no text that a template renders, and is
refused.
"""

from collections.abc import Mapping
from typing import Any, Final

from lmhead.data.formats.content_blocks import BLOCKS, answer_of, call_in, reasoning_text
from lmhead.data.rows.row import Place
from lmhead.data.rows.row_error import broken, listed
from lmhead.shown import shown_value

_CALLS: Final = ("function_call", "custom_tool_call")
_ANSWERS: Final = ("function_call_output", "custom_tool_call_output")
ITEMS: Final = ("message", "reasoning", *_CALLS, *_ANSWERS)


def is_item(value: Mapping[str, Any]) -> bool:
    """Whether an entry of a list of messages is an item without a role."""
    return value.get("role") is None and isinstance(value.get("type"), str) and "from" not in value


def _remedy(kind: str) -> str:
    """What to do about an item of a kind that is none."""
    if kind in BLOCKS:
        return 'it is a block; write it into the content of a message, {"role": "assistant", "content": [...]}'
    if kind == "constructor":
        return "it is an object as LangChain dumps it; write its messages as role and content"
    return "leave the row out: what it holds is no text that a chat template renders"


def item_message(place: Place, name: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """The message that an item is, or is a part of.

    Raises:
        InputError: it is of a kind that holds no text, or breaks its rule.
    """
    item = {key: value for key, value in item.items() if value is not None}
    kind = item["type"]
    if kind in _CALLS:
        return {"role": "assistant", "tool_calls": [call_in(place, name, item)]}
    if kind in _ANSWERS:
        return answer_of(place, name, item)
    if kind == "reasoning":
        return {"role": "assistant", "reasoning_content": reasoning_text(place, name, item)}
    if kind == "message":
        raise broken(place, name, "have a role", f"the keys {listed(item)}", "say who speaks")
    remedy = _remedy(kind)
    raise broken(place, f"{name}.type", f"be one of {listed(ITEMS)}", shown_value(kind), remedy)
