"""Calls that stand in a text, as a message of their own: ShareGPT's function_call, ms-swift's tool_call.

    {"name": "f", "arguments": {}}                       a call, a list of them, or several one after another
    <tool_call>{"name": "f", "arguments": {}}</tool_call>
    <think>Why.</think> Let me see. {"name": ...}        reasoning first, then a text, then the calls

Behind the calls nothing may stand: no template writes a text there.
"""

import json
import re
from typing import Any, Final

from lmhead.data.formats.tool_calls import calls_of, loaded
from lmhead.data.rows.json_file import object_of
from lmhead.data.rows.row import Place
from lmhead.data.rows.row_error import broken
from lmhead.shown import shown_value

_REASONING: Final = re.compile(
    r"\s*<(think|thinking|thought|reasoning)>(.*?)</\1>|\s*\[THINK\](.*?)\[/THINK\]|([^{<]*)</think>", re.DOTALL
)  # the prompt gave the opening tag to the last of them
_TAG: Final = "<tool_call>"
_BEGINNING: Final = re.compile(rf"{_TAG}|[{{\[]")
_TAGGED: Final = re.compile(r"\s*<tool_call>(.*?)</tool_call>\s*", re.DOTALL)
_END: Final = re.compile(r"\s*</tool_call>\s*")
_DECODER: Final = json.JSONDecoder(object_pairs_hook=object_of)


def call_message(place: Place, name: str, value: Any) -> dict[str, Any]:
    """What a message of calls holds: `tool_calls`, and `reasoning_content` and `content` where they stand before.

    Raises:
        InputError: it holds no call, or a text behind one.
    """
    if not isinstance(value, str):
        return {"tool_calls": _some(place, name, value, calls_of(place, name, value))}
    reasoning, rest = _without_reasoning(value)
    first = _BEGINNING.search(rest)
    text, calls = (_tagged if first and first[0] == _TAG else _untagged)(place, name, rest)
    message: dict[str, Any] = {"tool_calls": _some(place, name, value, calls)}
    if text.strip():
        message = {"content": text.strip(), **message}
    return {"reasoning_content": reasoning, **message} if reasoning else message


def may_hold_call(text: str) -> bool:
    """Whether something in a text may be the beginning of a call: a tag, or a bracket."""
    return _BEGINNING.search(text) is not None


def _some(place: Place, name: str, value: Any, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not calls:
        raise broken(place, name, "hold at least one call", shown_value(value), "leave the message out")
    return calls


def _without_reasoning(text: str) -> tuple[str, str]:
    """The reasoning at the beginning, between tags, and what follows it."""
    found = _REASONING.match(text)
    return ((found[2] or found[3] or found[4] or "").strip(), text[found.end() :]) if found else ("", text)


def _tagged(place: Place, name: str, text: str) -> tuple[str, list[dict[str, Any]]]:
    """The text before tags, and the calls in them."""
    before, _, _ = text.partition(_TAG)
    calls, position = [], len(before)
    while text.startswith(_TAG, position):
        end = _end_of_json(text, position + len(_TAG))
        closing = _END.match(text, end) if end else None  # a string of the JSON may hold the tag
        found = closing or _TAGGED.match(text, position)
        if found is None:
            break
        inside = text[position + len(_TAG) : end] if closing else found[1]
        calls += calls_of(place, name, loaded(place, name, inside))
        position = found.end()
    if position < len(text):
        remedy = "close each <tool_call>, and make what follows a message of its own"
        raise broken(place, name, "end with its calls", shown_value(text[position:]), remedy)
    return before, calls


def _end_of_json(text: str, position: int) -> int | None:
    """Where the value of JSON ends that stands at a position, behind spaces; None where there is none."""
    while position < len(text) and text[position].isspace():
        position += 1
    try:
        return _DECODER.raw_decode(text, position)[1]
    except (ValueError, RecursionError):
        return None


def _untagged(place: Place, name: str, text: str) -> tuple[str, list[dict[str, Any]]]:
    """The text before the first bracket, and the calls in the JSON that reaches from there to the end.

    No later bracket is tried: it may be that of an argument, where the call's own JSON is damaged.
    """
    first = _BEGINNING.search(text)
    start = first.start() if first else 0
    values = _values(text, start)
    if values is None or not all(map(_is_call, values)):
        return text[:start], calls_of(place, name, loaded(place, name, text[start:]))  # which says what is wrong
    return text[:start], [call for value in values for call in calls_of(place, name, value)]


def _values(text: str, position: int) -> list[Any] | None:
    """The values of JSON that fill a text from a position to its end; None where something else stands there."""
    values = []
    text = text.rstrip()
    while position < len(text):
        try:
            value, position = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError):
            return None
        values.append(value)
        while position < len(text) and text[position].isspace():
            position += 1
    return values


def _is_call(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, dict) and _is_call(item) for item in value)
    return isinstance(value, dict) and bool({"name", "function", "custom"} & set(value))
