"""Blocks of a content, as Anthropic, OpenAI, Mistral, LangChain and the AI SDK write them -> the pieces they mean.

    text        text, input_text, output_text, refusal, and a document that is a text
    reasoning   thinking, reasoning
    call        tool_use and what else a call is called
    answer      tool_result and what else a tool's answer is called

A block that is none of these is refused: an image has no text, and a language model would be shown a dictionary. So is
a text under a key that nothing reads: it would be lost.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from lmhead.data.formats.row_text import checked_text
from lmhead.data.formats.tool_calls import call_of
from lmhead.data.rows.row import Place
from lmhead.data.rows.row_error import broken, listed
from lmhead.labels.conversation.turn_flags import FLAGS, WHOLE_ALONE
from lmhead.shown import shown_value

_TEXTS: Final = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}  # key of the text
_REASONING: Final = ("thinking", "reasoning")
_CALLS: Final = {  # keys of name, arguments, id
    **dict.fromkeys(("tool_use", "server_tool_use", "mcp_tool_use"), ("name", "input", "id")),
    "tool_call": ("name", "args", "id"),
    "function_call": ("name", "arguments", "call_id"),
    "custom_tool_call": ("name", "input", "call_id"),
    "tool-call": ("toolName", "input", "toolCallId"),
}
_ANSWERS: Final = {  # keys of the answer, id
    **dict.fromkeys(("tool_result", "mcp_tool_result"), ("content", "tool_use_id")),
    **dict.fromkeys(("function_call_output", "custom_tool_call_output"), ("output", "call_id")),
    "tool-result": ("output", "toolCallId"),
}
METADATA: Final = frozenset(
    {
        *(
            "type",
            "id",
            "call_id",
            "tool_call_id",
            "tool_use_id",
            "toolCallId",
            "index",
            "status",
            "phase",
            "signature",
            "encrypted_content",
            "cache_control",
            "caller",
        ),
        *("citations", "annotations", "logprobs", "server_name", "toolName", "providerOptions", "providerMetadata"),
        *("dynamic", "isError", "is_error", "media_type", "extras", "format"),
        *("thoughtSignature", "thought_signature"),
    }
)  # keys that hold nothing for a model to read
BLOCKS: Final = (*_TEXTS, *_REASONING, *_CALLS, *_ANSWERS, "document")  # every type that is read
_OF_TEXT: Final = "a language model reads text alone; write what it shows or says as text, or leave the row out"
_KNOWN: Final = (*_TEXTS, *_REASONING, "tool_use", "tool_result", "document")


@dataclass(frozen=True, slots=True)
class Piece:
    """What one block means: a text, a call as `tool_calls` has it, or a tool's message."""

    kind: Literal["text", "reasoning", "call", "answer"]
    value: Any
    name: str  # where it stands, for errors


def pieces_of(place: Place, name: str, content: Any) -> list[Piece]:
    """The pieces of a content that is a string or a list of blocks, in its order.

    Raises:
        InputError: it is neither, or a block breaks its rule.
    """
    if isinstance(content, str):
        return [Piece("text", checked_text(place, name, content), name)]
    if not isinstance(content, list | tuple):
        block = "write an object as a string of JSON, a block as a list of one"
        remedy = block if isinstance(content, dict) else "write it as a string, and nothing at all as null"
        raise broken(place, name, "be a string or a list of blocks", shown_value(content), remedy)
    return [_piece(place, f"{name}[{index}]", block) for index, block in enumerate(content) if block is not None]


def text_of(place: Place, name: str, content: Any) -> str:
    """The text of a content that is nothing else.

    Raises:
        InputError: it holds reasoning, a call, an answer, or what is no text.
    """
    pieces = pieces_of(place, name, content)
    for piece in pieces:
        if piece.kind != "text":
            where = "an assistant's message" if piece.kind != "answer" else "a message of the user or the tool"
            what = {"answer": "a tool's answer"}.get(piece.kind, piece.kind)
            raise broken(place, piece.name, "be a text", what, f"it belongs to {where}")
    return "".join(piece.value for piece in pieces)


def reasoning_text(place: Place, name: str, block: Mapping[str, Any]) -> str:
    """What a block or an item of reasoning tells: its text, else the summary of it; "" where it is encrypted alone.

    Raises:
        InputError: one of these is no text.
    """
    key = next((key for key in ("thinking", "reasoning", "text", "content", "summary") if block.get(key)), None)
    _check_rest(place, name, block, (key, "summary"))  # a summary says less of what is there whole
    if key is None:
        return ""
    value = block[key]
    if isinstance(value, str):
        return checked_text(place, f"{name}.{key}", value)
    if not isinstance(value, list | tuple):
        raise broken(
            place, f"{name}.{key}", "be a string or a list of blocks", shown_value(value), "write it as a string"
        )
    return "\n\n".join(_part(place, f"{name}.{key}[{index}]", part) for index, part in enumerate(value))


def answer_of(place: Place, name: str, block: Mapping[str, Any]) -> dict[str, Any]:
    """The message of a tool that a block or an item of an answer is.

    Raises:
        InputError: it holds what is no text.
    """
    content, own = _ANSWERS[block["type"]]
    content = next((key for key in (content, "result", "output", "content") if key in block), content)
    value = block.get(content)
    if isinstance(value, Mapping) and isinstance(
        value.get("value"), str
    ):  # the AI SDK's {"type": "text", "value": ...}
        value = value["value"]
    text = "" if value is None else text_of(place, f"{name}.{content}", value)
    message: dict[str, Any] = {"role": "tool", "content": text}
    identity = next((block[key] for key in (own, "tool_call_id", "id") if block.get(key) is not None), None)
    if identity is not None:
        message["tool_call_id"] = checked_text(place, f"{name}.{own}", identity)
    if block.get("is_error") is True or block.get("isError") is True:
        message["is_error"] = True
    _check_rest(place, name, block, (content, own, "tool_call_id"))
    return message


def call_in(place: Place, name: str, block: Mapping[str, Any]) -> dict[str, Any]:
    """The call that a block or an item is, as `tool_calls` has it.

    Raises:
        InputError: it has no name, or its arguments are no object.
    """
    called, given, own = _CALLS[block["type"]]
    called, own = (next((key for key in keys if key in block), keys[0]) for keys in ((called, "name"), (own, "id")))
    given = next((key for key in (given, "arguments", "args", "input") if key in block), given)
    call: dict[str, Any] = {"id": block.get(own), "name": block.get(called)}
    if block["type"] == "custom_tool_call":
        call = {**call, "type": "custom", "input": block.get(given)}
    else:
        call = {**call, "arguments": block.get(given)}
    _check_rest(place, name, block, (called, given, own))
    return call_of(place, name, call)


def _piece(place: Place, name: str, block: Any) -> Piece:
    if isinstance(block, str):
        return Piece("text", checked_text(place, name, block), name)
    if not isinstance(block, Mapping):
        raise broken(
            place, name, 'be a block such as {"type": "text", "text": "..."}', shown_value(block), "write it so"
        )
    block = {key: item for key, item in block.items() if item is not None}
    if "type" not in block and "text" not in block:
        rule = 'be a block such as {"type": "text", "text": "..."}'
        raise broken(place, name, rule, f"the keys {listed(block)}" if block else "an empty object", "write it so")
    kind = block.get("type", "text")
    if not isinstance(kind, str):
        raise _no_text(place, name, kind)
    if kind in _TEXTS and block.get("thought") is True:  # as Gemini marks what is thought
        return Piece("reasoning", _text(place, name, block, _TEXTS[kind]), name)
    if kind in _TEXTS:
        return Piece("text", _text(place, name, block, _TEXTS[kind]), name)
    if kind in _REASONING:
        return Piece("reasoning", reasoning_text(place, name, block), name)
    if kind in _CALLS:
        return Piece("call", call_in(place, name, block), name)
    if kind in _ANSWERS:
        return Piece("answer", answer_of(place, name, block), name)
    if kind == "document":
        return Piece("text", _document(place, name, block), name)
    raise _no_text(place, name, kind)


def _no_text(place: Place, name: str, kind: object) -> Exception:
    """The error of a block that is none of the known."""
    if kind == "redacted_thinking":
        remedy = "what was thought is encrypted; drop the block to learn the answer without it, or leave the row out"
        return broken(place, name, "hold text", "redacted_thinking", remedy)
    if isinstance(kind, str) and any(word in kind for word in ("image", "audio", "video", "file", "media")):
        return broken(place, name, "be text", f"a block of type {shown_value(kind)}", _OF_TEXT)
    return broken(place, f"{name}.type", f"be one of {listed(_KNOWN)}", shown_value(kind), _OF_TEXT)


def _text(place: Place, name: str, block: Mapping[str, Any], key: str) -> str:
    value = block.get(key)
    if isinstance(value, Mapping) and "value" in value:  # OpenAI's threads: {"value": "...", "annotations": []}
        _check_rest(place, f"{name}.{key}", value, ("value",))
        value = value["value"]
    _check_rest(place, name, block, (key,))
    return checked_text(place, f"{name}.{key}", value)


def _document(place: Place, name: str, block: Mapping[str, Any]) -> str:
    """Title, context and text of a document, each from a line of its own, and an empty line behind it."""
    source = block.get("source")
    kind = source.get("type") if isinstance(source, Mapping) else None
    if not isinstance(source, Mapping) or kind not in ("text", "content"):
        raise broken(place, f"{name}.source.type", "be text or content", shown_value(kind), _OF_TEXT)
    key = "data" if kind == "text" else "content"
    texts = [checked_text(place, f"{name}.{part}", block[part]) for part in ("title", "context") if part in block]
    texts.append(text_of(place, f"{name}.source.{key}", source.get(key)))
    _check_rest(place, name, block, ("title", "context", "source"))
    _check_rest(place, f"{name}.source", source, (key,))
    return "\n".join(texts) + "\n\n"


def _part(place: Place, name: str, part: Any) -> str:
    """One part of a reasoning: a string, or a block of its text or of its summary."""
    if isinstance(part, Mapping):
        _check_rest(place, name, part, ("text",))
        return checked_text(place, f"{name}.text", part.get("text"))
    return checked_text(place, name, part)


def _check_rest(place: Place, name: str, block: Mapping[str, Any], read: Iterable[str | None]) -> None:
    """Raise InputError where a key that nothing reads holds a text, or says what is learnt of a message."""
    for key in block:
        if key in FLAGS and key not in read and block[key] is not None:
            raise broken(place, f"{name}.{key}", "be absent", shown_value(block[key]), WHOLE_ALONE)
        if key not in read and key not in METADATA and _holds_text(block[key]):
            remedy = "move what the model is to see into the text, and drop the key"
            raise broken(place, f"{name}.{key}", "be a key that is read", shown_value(block[key]), remedy)


def _holds_text(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_text, value.values()))
    return bool(value) if isinstance(value, str) else isinstance(value, list | tuple) and any(map(_holds_text, value))
