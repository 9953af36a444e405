"""Messages as people write them -> messages as chat templates read them.

Words differ (human, gpt, reasoning, function_call), nesting differs (calls with and without `function`, JSON inside
strings), tables fill up with nulls. What has one meaning is brought to one form here; what has none is refused.
"""

from collections.abc import Mapping
from typing import Any, Final

from lmhead.data.row_error import broken, did_you_mean, listed, shown
from lmhead.data.sample import Place
from lmhead.data.tool_calls import calls_of, legacy_call, loaded

ROLES: Final = ("system", "developer", "user", "assistant", "tool", "ipython")
_SYNONYMS: Final = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function": "tool",
    "function_response": "tool",
    "observation": "tool",
}
KNOWN_ROLES: Final = (*ROLES, *_SYNONYMS)
_FORM: Final = '{"role": "user", "content": "..."}'
_REASONING: Final = ("reasoning_content", "reasoning", "thinking")
_TRAIN: Final = ("train", "loss")  # ms-swift says loss


def messages_of(place: Place, name: str, value: Any) -> list[dict[str, Any]]:
    """The messages of a column, which may be a string of JSON.

    Raises:
        InputError: it is no list of messages, or one of them breaks its rule.
    """
    value = loaded(place, name, value) if isinstance(value, str) else value
    if isinstance(value, dict) and "role" in value:
        value = [value]
    if not isinstance(value, list | tuple):
        raise broken(place, name, "be a list of messages", shown(value), f"write [{_FORM}, ...]")
    if not value:
        raise broken(place, name, "hold at least one message", "an empty list", "leave the row out")
    return [message_of(place, f"{name}[{index}]", message) for index, message in enumerate(value)]


def message_of(place: Place, name: str, value: Any) -> dict[str, Any]:
    """One message in the words of OpenAI, without keys that are null.

    Raises:
        InputError: it is no message.
    """
    if not isinstance(value, Mapping):
        raise broken(place, name, "be an object with role and content", shown(value), f"write {_FORM}")
    message = {key: item for key, item in value.items() if item is not None}
    message = {"role": _role(place, name, message), **message} | {"role": _role(place, name, message)}
    _rename_reasoning(place, name, message)
    _rename_train(place, name, message)
    _calls(place, name, message)
    if "content" in message:
        message["content"] = content_of(place, f"{name}.content", message["content"])
    elif not message.get("tool_calls") and not message.get("reasoning_content"):
        raise _no_content(place, name, value)
    for key in ("reasoning_content", "name", "tool_call_id"):
        if key in message:
            checked_text(place, f"{name}.{key}", message[key])
    return message


def content_of(place: Place, name: str, content: Any) -> Any:
    """A string, or a list of blocks. Blocks that are all text become the string that a template makes of them.

    A template that knows no blocks would print them as a list, and a model would learn to write that.
    """
    if isinstance(content, str):
        return checked_text(place, name, content)
    if not isinstance(content, list | tuple):
        block = "write an object as a string of JSON, a block as a list of one"
        remedy = block if isinstance(content, dict) else "write it as a string, and nothing at all as null"
        raise broken(place, name, "be a string or a list of blocks", shown(content), remedy)
    blocks = [_block(place, f"{name}[{index}]", block) for index, block in enumerate(content)]
    if all(isinstance(block, str) or block.get("type") == "text" for block in blocks):
        return "".join(block if isinstance(block, str) else block["text"] for block in blocks)
    return blocks


def checked_text(place: Place, name: str, text: Any) -> str:
    """The string, which UTF-8 can write.

    Raises:
        InputError: it is no string, or holds half of a surrogate pair.
    """
    if not isinstance(text, str):
        wanted = "write what the model is to read or to write"
        remedy = "write it in quotes, as a text" if isinstance(text, int) else wanted
        raise broken(place, name, "be a string", shown(text), remedy)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x} at character {error.start}, half of a pair"
        raise broken(
            place, name, "be Unicode text", half, "mend the row, leave it out, or pass --errors replace"
        ) from None
    return text


def _role(place: Place, name: str, message: Mapping[str, Any]) -> str:
    role = message.get("role")
    if role is None:
        keys = listed(message)
        remedy = "the format sharegpt has from and value" if "from" in message else f"one of {listed(ROLES)}"
        near = did_you_mean("role", message)
        raise broken(place, name, "have a role", f"the keys {keys}", f"rename {near} to role" if near else remedy)
    if not isinstance(role, str) or not role:
        raise broken(place, f"{name}.role", f"be one of {listed(ROLES)}", shown(role), "name who speaks")
    if role in KNOWN_ROLES:
        return _SYNONYMS.get(role, role)
    near = did_you_mean(role, KNOWN_ROLES)
    if near:
        raise broken(place, f"{name}.role", f"be one of {listed(ROLES)}", shown(role), f"did you mean {near}?")
    return role  # a template may know more roles; one that does not know it leaves its text out, which is refused


def _no_content(place: Place, name: str, value: Mapping[str, Any]) -> Exception:
    if "content" in value:
        got, remedy = "null", 'give it a text ("" for none), or tool_calls'
    else:
        near = did_you_mean("content", value) or next((key for key in ("value", "text") if key in value), None)
        got, remedy = f"the keys {listed(value)}", f"rename {near} to content" if near else "add it"
    return broken(place, f"{name}.content", "be given where there are no tool_calls", got, remedy)


def _rename_reasoning(place: Place, name: str, message: dict[str, Any]) -> None:
    """All names of the reasoning -> reasoning_content."""
    found = {key: message.pop(key) for key in _REASONING if key in message}
    texts = list(found.values())
    if any(text != texts[0] for text in texts):
        raise broken(place, name, "have one reasoning", f"different ones in {listed(found)}", "keep reasoning_content")
    if texts:
        message["reasoning_content"] = texts[0]


def _rename_train(place: Place, name: str, message: dict[str, Any]) -> None:
    """train or loss -> train, as a bool; a weight is a number."""
    found = {key: message.pop(key) for key in _TRAIN if key in message}
    for key, value in found.items():
        if value not in (True, False):
            raise broken(place, f"{name}.{key}", "be true or false", shown(value), "write one of them, without quotes")
    if len(set(map(bool, found.values()))) > 1:
        raise broken(
            place, name, "say once whether it is trained", f"different values in {listed(found)}", "keep train"
        )
    if found and (message["role"] == "assistant" or not next(iter(found.values()))):
        message["train"] = bool(next(iter(found.values())))
    elif found:
        remedy = "only an assistant's message is learnt; leave it out"
        raise broken(place, f"{name}.{next(iter(found))}", f"be false for the role {message['role']}", "true", remedy)
    weight = message.get("weight")
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if weight is not None and not (number and 0 <= weight < float("inf")):
        raise broken(place, f"{name}.weight", "be a finite number >= 0", shown(weight), "0 leaves it out, 1 is usual")


def _calls(place: Place, name: str, message: dict[str, Any]) -> None:
    """tool_calls or function_call -> tool_calls in one form; none where there are none."""
    calls = message.pop("tool_calls", None)
    old = message.pop("function_call", None)
    found = calls_of(place, f"{name}.tool_calls", calls) if calls is not None else []
    if old is not None:
        found += [legacy_call(place, f"{name}.function_call", old)]
    if found and message["role"] != "assistant":
        remedy = "calls belong to the assistant's message that makes them"
        raise broken(place, f"{name}.role", "be assistant where there are tool_calls", message["role"], remedy)
    if found:
        message["tool_calls"] = found


def _block(place: Place, name: str, block: Any) -> Any:
    if isinstance(block, str):
        return checked_text(place, name, block)
    if not isinstance(block, Mapping):
        raise broken(place, name, 'be a block such as {"type": "text", "text": "..."}', shown(block), "write it so")
    kept = {key: item for key, item in block.items() if item is not None}
    if kept.get("type") == "text" or "type" not in kept:
        checked_text(place, f"{name}.text", kept.get("text"))
        kept = {"type": "text", **kept}
    return kept
