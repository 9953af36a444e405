"""Messages as people write them -> messages as chat templates read them.

Words differ (human, gpt, reasoning, function_call), nesting differs (calls with and without `function`, JSON inside
strings, blocks, items), tables fill up with nulls. What has one meaning is brought to one form here: a role of ROLES, a
content that is a string, `reasoning_content`, `tool_calls`, `train` and `weight`. What has none is refused.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Final, Literal

from lmhead.data.formats.call_text import call_message, may_hold_call
from lmhead.data.formats.content_blocks import Piece, pieces_of
from lmhead.data.formats.message_flags import KEYS, take_flags_of_blocks, training_of
from lmhead.data.formats.response_items import is_item, item_message
from lmhead.data.formats.row_text import checked_text
from lmhead.data.formats.tool_calls import call_of, calls_of, loaded
from lmhead.data.rows.row import Place
from lmhead.data.rows.row_error import broken, did_you_mean, listed
from lmhead.labels.conversation.roles import CALLS, KNOWN, ROLES, SYNONYMS, near_role
from lmhead.shown import shown_value

Link = Literal["", "call", "reasoning"]  # what an entry is a part of: nothing, the turn before it, the turn behind it
_FORM: Final = '{"role": "user", "content": "..."}'
_REASONING: Final = ("reasoning_content", "reasoning", "thinking")
_TEXTS: Final = ("reasoning_content", "tool_plan", "prefill", "name", "tool_call_id")
_OF_ITEMS: Final = ("type", "id", "status", "phase")  # of OpenAI's responses, nothing for a template
_INSTEAD: Final = ("value", "text", "output", "result", "parts", "message")  # names under which a content is looked for
_OPENING: Final = ("reasoning_content", "tool_plan", "prefill")
_ORDER: Final = {"reasoning": 0, "text": 1, "call": 2}  # in which templates write a turn


def messages_of(place: Place, name: str, value: Any) -> list[dict[str, Any]]:
    """The messages of a column, which may be a string of JSON.

    Raises:
        InputError: it is no list of messages, or one of them breaks its rule.
    """
    value = loaded(place, name, value) if isinstance(value, str) else value
    if isinstance(value, dict) and "role" in value:
        value = [value]
    if not isinstance(value, list | tuple):
        raise broken(place, name, "be a list of messages", shown_value(value), f"write [{_FORM}, ...]")
    if not value:
        raise broken(place, name, "hold at least one message", "an empty list", "leave the row out")
    messages: list[dict[str, Any]] = []
    last: Link = ""
    for index, entry in enumerate(value):
        where = f"{name}[{index}]"
        for message, link in _messages(place, where, entry):
            if messages and _goes_on(messages[-1], last, message, link):
                messages[-1] = _joined(place, where, messages[-1], message)
            else:
                if last == "reasoning":
                    raise _led_nowhere(place, f"{name}[{index - 1}]")
                messages.append(message)
            last = link
    if last == "reasoning":
        raise _led_nowhere(place, f"{name}[{len(value) - 1}]")
    return messages


def _led_nowhere(place: Place, name: str) -> Exception:
    """The error of an item of reasoning at the end of a list, or before somebody else speaks: a response cut short."""
    remedy = "its answer would be empty; write what it led to behind it in the same list, or leave the row out"
    return broken(place, name, "be followed by a message or a call of the assistant", "a reasoning alone", remedy)


def _messages(place: Place, name: str, value: Any) -> Iterator[tuple[dict[str, Any], Link]]:
    """What one entry of a list of messages is: one message, or several, or a part of one."""
    if not isinstance(value, Mapping):
        raise broken(place, name, "be an object with role and content", shown_value(value), f"write {_FORM}")
    entry = {key: item for key, item in value.items() if item is not None}
    if is_item(entry) and entry["type"] in (*ROLES, *SYNONYMS):  # as LangChain names its speakers
        entry = {"role": entry.pop("type"), **entry}
    if is_item(entry):
        message = item_message(place, name, {key: item for key, item in entry.items() if key not in KEYS})
        message |= training_of(place, name, {**entry, "role": message["role"]})
        if message.get("reasoning_content") != "":  # an item whose reasoning is encrypted tells none
            yield message, "call" if "tool_calls" in message else "reasoning" if "reasoning_content" in message else ""
        return
    if entry.get("type") == "message":
        entry = {key: item for key, item in entry.items() if key not in _OF_ITEMS}
    link: Link = "call" if entry.get("role") in CALLS else ""
    for message in _of_entry(place, name, entry, value):
        yield message, link


def _of_entry(place: Place, name: str, entry: dict[str, Any], value: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages that an entry with a role is: several where a user's blocks hold tools' answers."""
    role = _role(place, name, entry)
    base = {"role": role, **{key: item for key, item in entry.items() if key != "role" and key not in KEYS}}
    base |= training_of(place, name, {**entry, "role": role})
    take_flags_of_blocks(place, name, base)
    _rename_reasoning(place, name, base)
    _calls(place, name, base)
    if entry["role"] in CALLS:
        base |= _of_call(place, name, base)
    _refusal(place, name, base)
    for key in _TEXTS:
        if key in base:
            checked_text(place, f"{name}.{key}", base[key])
    content = base.pop("content", None)
    if content is None and not _may_lack_content(base):
        raise _no_content(place, name, base, value)
    if isinstance(content, str) and "prefill" not in base:  # as most are
        return [{**base, "content": checked_text(place, f"{name}.content", content)}]
    pieces = [] if content is None else pieces_of(place, f"{name}.content", content)
    if content is not None and not pieces:
        pieces = [Piece("text", "", f"{name}.content")]
    return _assembled(place, name, base, pieces)


def _assembled(place: Place, name: str, base: dict[str, Any], pieces: list[Piece]) -> list[dict[str, Any]]:
    """The messages of pieces: what stands before, between and behind tools' answers, and these."""
    messages: list[dict[str, Any]] = []
    own: list[Piece] = []
    base, calls = _without_calls(place, name, base, pieces)
    for piece in pieces:
        if piece.kind != "answer":
            own.append(piece)
            continue
        if own or calls:  # calls beside the blocks are those that are answered here
            messages.append(_message(place, name, base, own) | calls)
            base, own, calls = _behind(base), [], {}
        messages.append({**base, **piece.value} if base["role"] == "tool" else piece.value)
    if own or calls or not messages:
        messages.append(_message(place, name, base, own) | calls)
    return messages


def _without_calls(
    place: Place, name: str, base: Mapping[str, Any], pieces: list[Piece]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What stands beside blocks, and its `tool_calls` apart, unless the blocks hold them."""
    rest = {key: item for key, item in base.items() if key != "tool_calls"}
    given = [piece.value for piece in pieces if piece.kind == "call"]
    if given and "tool_calls" in base:
        if [call["function"] for call in given] != [call["function"] for call in base["tool_calls"]]:
            raise broken(place, name, "have its calls once", "others in content than in tool_calls", "keep tool_calls")
        return rest, {}
    return rest, {"tool_calls": base["tool_calls"]} if "tool_calls" in base else {}


def _behind(base: Mapping[str, Any]) -> dict[str, Any]:
    """What stands beside blocks, without what opens a turn: for the turns behind the first that the blocks hold."""
    return {key: item for key, item in base.items() if key not in _OPENING}


def _message(place: Place, name: str, base: Mapping[str, Any], pieces: list[Piece]) -> dict[str, Any]:
    """One message out of its pieces, which stand in the order in which templates write them."""
    message = dict(base)
    assistant = base["role"] == "assistant"
    for piece in pieces:
        if piece.kind != "text" and not assistant:
            remedy = "only an assistant thinks and calls"
            raise broken(place, piece.name, "be in an assistant's message", f"it in one of {base['role']}", remedy)
    for before, piece in pairwise(piece for piece in pieces if piece.value):
        if _ORDER[before.kind] > _ORDER[piece.kind]:
            got = f"{piece.kind} behind {before.kind}"
            remedy = "templates write a turn in this order; write what follows as a message of its own"
            if piece.kind == "reasoning":
                remedy = "templates write a turn in this order; put the reasoning first, or leave the row out"
            raise broken(place, piece.name, "stand in the order reasoning, text, calls", got, remedy)
    parts = {kind: [piece.value for piece in pieces if piece.kind == kind] for kind in _ORDER}
    reasoning = "\n\n".join(filter(None, parts["reasoning"]))
    if reasoning and base.get("reasoning_content", reasoning) != reasoning:
        raise broken(place, name, "have one reasoning", "another in content than beside it", "keep reasoning_content")
    if reasoning:
        message["reasoning_content"] = reasoning
    if parts["text"]:
        message["content"] = "".join(parts["text"])
    elif message["role"] == "tool":
        message["content"] = ""
    if parts["call"]:
        message["tool_calls"] = parts["call"]
    if not message.get("content", "").startswith(message.get("prefill", "")):
        raise broken(
            place, f"{name}.prefill", "begin the content", shown_value(message["prefill"]), "write the content whole"
        )
    return message


def _goes_on(before: Mapping[str, Any], last: Link, message: Mapping[str, Any], link: Link) -> bool:
    """Whether a message is more of the assistant's turn before it: calls of it, or what its reasoning led to."""
    if before["role"] != "assistant" or message["role"] != "assistant":
        return False
    if last == "reasoning":
        return link == "reasoning" or "reasoning_content" not in message
    return link == "call" and not {"content", "reasoning_content"} & set(message)


def _joined(place: Place, name: str, before: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
    """One message of two that are one turn."""
    trains = {before.get("train"), message.get("train")}
    if trains in ({True, False}, {None, False}) or before.get("weight", 1) != message.get("weight", 1):
        remedy = "it is one turn with the message before it; say the same of both"
        raise broken(place, name, "say of its training what the message before it says", "something else", remedy)
    joined = {**before, **message}
    for key, between in (("reasoning_content", "\n\n"), ("content", "")):
        if key in before and key in message:
            joined[key] = before[key] + between + message[key]
    if "tool_calls" in before and "tool_calls" in message:
        joined["tool_calls"] = before["tool_calls"] + message["tool_calls"]
    return joined


def _role(place: Place, name: str, message: Mapping[str, Any]) -> str:
    role = message.get("role")
    if role is None:
        keys = listed(message)
        remedy = "the format sharegpt has from and value" if "from" in message else f"one of {listed(ROLES)}"
        near = did_you_mean("role", message)
        got = f"the keys {keys}" if message else "an empty object"
        raise broken(place, name, "have a role", got, f"rename {near} to role" if near else remedy)
    if not isinstance(role, str) or not role:
        raise broken(place, f"{name}.role", f"be one of {listed(ROLES)}", shown_value(role), "name who speaks")
    if role in KNOWN:
        return "assistant" if role in CALLS else SYNONYMS.get(role, role)
    near = near_role(role)
    if near:
        raise broken(place, f"{name}.role", f"be one of {listed(ROLES)}", shown_value(role), f"did you mean {near}?")
    return role  # a template may name more roles; one that does not name it is told when it is labelled


def _may_lack_content(message: Mapping[str, Any]) -> bool:
    """Whether a message without content says something: it thinks or calls, or is a tool that returned nothing."""
    if message["role"] == "tool":
        return not set(_INSTEAD) & set(message) and did_you_mean("content", message) is None
    return any(message.get(key) for key in ("tool_calls", "reasoning_content", "tool_plan"))


def _no_content(place: Place, name: str, message: Mapping[str, Any], value: Mapping[str, Any]) -> Exception:
    """The error of a message that says nothing: `message` as it is read so far, `value` as it is given."""
    calls = message["role"] == "assistant"
    if "content" in value:
        got, remedy = "null", 'give it a text ("" for none)' + (", or tool_calls" if calls else "")
    else:
        near = did_you_mean("content", value) or next((key for key in _INSTEAD if key in value), None)
        got, remedy = f"the keys {listed(value)}", f"rename {near} to content" if near else "add it"
        if not near and isinstance(value.get("data"), Mapping):  # as LangChain's messages_to_dict writes it
            remedy = "write what data holds into the message itself"
    rule = "be given where there are no tool_calls" if calls else "be given"
    return broken(place, f"{name}.content", rule, got, remedy)


def _rename_reasoning(place: Place, name: str, message: dict[str, Any]) -> None:
    """All names of the reasoning -> reasoning_content."""
    found = {key: message.pop(key) for key in _REASONING if key in message}
    texts = [text for text in found.values() if text] or list(found.values())  # an empty one says nothing
    if any(text != texts[0] for text in texts):
        raise broken(place, name, "have one reasoning", f"different ones in {listed(found)}", "keep reasoning_content")
    if texts:
        message["reasoning_content"] = texts[0]


def _calls(place: Place, name: str, message: dict[str, Any]) -> None:
    """tool_calls or function_call -> tool_calls in one form; none where there are none."""
    calls = message.pop("tool_calls", None)
    old = message.pop("function_call", None)
    found = calls_of(place, f"{name}.tool_calls", calls) if calls is not None else []
    if old is not None:
        before = call_of(place, f"{name}.function_call", old)
        if found and [call["function"] for call in found] != [before["function"]]:
            remedy = "it is the old name of tool_calls; keep these"
            raise broken(place, f"{name}.function_call", "be the call that tool_calls holds", shown_value(old), remedy)
        found = found or [before]
    if found and message["role"] != "assistant":
        remedy = "calls belong to the assistant's message that makes them"
        raise broken(place, f"{name}.role", "be assistant where there are tool_calls", message["role"], remedy)
    if found:
        message["tool_calls"] = found


def _of_call(place: Place, name: str, message: dict[str, Any]) -> dict[str, Any]:
    """What the content of a message that is a call holds; nothing where the calls stand beside it."""
    if "tool_calls" in message:
        content = message.get("content")
        if content and (not isinstance(content, str) or may_hold_call(content)):
            remedy = "keep tool_calls; where the content is what the assistant says, make the role assistant"
            raise broken(place, name, "have its calls once", "tool_calls beside a content", remedy)
        return {}
    found = call_message(place, f"{name}.content", message.pop("content", None))
    if {"reasoning_content"} <= found.keys() & message.keys():
        raise broken(place, name, "have one reasoning", "another in content than beside it", "keep reasoning_content")
    return found


def _refusal(place: Place, name: str, message: dict[str, Any]) -> None:
    """OpenAI's refusal -> content: it is what the assistant says."""
    refusal = message.pop("refusal", None)
    if refusal and message.get("content"):
        raise broken(place, name, "have a content or a refusal", "both", "keep what the assistant is to say")
    if refusal:
        message["content"] = checked_text(place, f"{name}.refusal", refusal)
