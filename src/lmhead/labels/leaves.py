"""The strings of a conversation that a template renders as text: contents, reasoning, calls, and what tools there are.

Names of fields, roles, ids of calls and numbers are no leaves: templates test them, or require a form of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lmhead.labels.template import REASONING_FIELDS, Message

LeafKind = Literal["content", "reasoning", "call", "tool_schema"]
TOOLS = -1  # the "message" of leaves that belong to the tools


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One string: whose it is, and what it is to that message."""

    message: int  # index, or TOOLS
    kind: LeafKind
    text: str
    alone: bool = False  # the message has no other text: empty, it would leave no trace


Rewrite = Callable[[Leaf], str]


def rewritten(
    messages: Sequence[Message], tools: Sequence[Message] | None, rewrite: Rewrite
) -> tuple[list[Message], list[Message] | None]:
    """The conversation with every leaf replaced by what `rewrite` makes of it, in the order in which leaves are met."""
    new_messages = [_message(index, message, rewrite) for index, message in enumerate(messages)]
    return new_messages, None if tools is None else [_tool(tool, rewrite) for tool in tools]


def leaves(messages: Sequence[Message], tools: Sequence[Message] | None) -> list[Leaf]:
    """Every leaf of a conversation."""
    return hollowed(messages, tools)[0]


def hollowed(
    messages: Sequence[Message], tools: Sequence[Message] | None
) -> tuple[list[Leaf], tuple[list[Message], list[Message] | None]]:
    """Every leaf of a conversation, and what is left of it without their texts."""
    found: list[Leaf] = []

    def take(leaf: Leaf) -> str:
        found.append(leaf)
        return ""

    rest = rewritten(messages, tools, take)
    return found, rest


def _message(index: int, message: Message, rewrite: Rewrite) -> Message:
    new = dict(message)
    alone = not message.get("tool_calls") and not any(message.get(field) for field in REASONING_FIELDS)
    for field in REASONING_FIELDS:
        if isinstance(message.get(field), str):
            new[field] = rewrite(Leaf(message=index, kind="reasoning", text=message[field]))
    content = message.get("content")
    if isinstance(content, str):
        new["content"] = rewrite(Leaf(message=index, kind="content", text=content, alone=alone))
    elif isinstance(content, list):
        new["content"] = [_block(index, block, rewrite) for block in content]
    if isinstance(message.get("tool_calls"), list):
        new["tool_calls"] = [_call(index, call, rewrite) for call in message["tool_calls"]]
    return new


def _block(index: int, block: object, rewrite: Rewrite) -> object:
    """A block of a content that is a list: text, or an image and the like, which is left alone."""
    if isinstance(block, str):
        return rewrite(Leaf(message=index, kind="content", text=block))
    if isinstance(block, dict) and isinstance(block.get("text"), str):
        return {**block, "text": rewrite(Leaf(message=index, kind="content", text=block["text"]))}
    return block


def _call(index: int, call: object, rewrite: Rewrite) -> object:
    """A call, with its function's fields in `function` or beside its id."""
    if not isinstance(call, dict):
        return call
    if isinstance(call.get("function"), dict):
        return {**call, "function": _function(index, call["function"], rewrite)}
    return _function(index, call, rewrite)


def _function(index: int, function: Message, rewrite: Rewrite) -> Message:
    new = dict(function)
    if isinstance(function.get("name"), str):
        new["name"] = rewrite(Leaf(message=index, kind="call", text=function["name"]))
    if "arguments" in function:
        new["arguments"] = _deep(index, function["arguments"], rewrite)
    return new


def _deep(index: int, value: object, rewrite: Rewrite) -> object:
    """Arguments: a string of JSON, or any nesting whose strings are leaves."""
    if isinstance(value, str):
        return rewrite(Leaf(message=index, kind="call", text=value))
    if isinstance(value, dict):
        return {key: _deep(index, item, rewrite) for key, item in value.items()}
    if isinstance(value, list):
        return [_deep(index, item, rewrite) for item in value]
    return value


def _tool(tool: Message, rewrite: Rewrite) -> Message:
    """A tool's name and description; its parameters are keywords that templates translate."""
    if isinstance(tool.get("function"), dict):
        return {**tool, "function": dict(_named(tool["function"], rewrite))}
    return dict(_named(tool, rewrite))


def _named(function: Message, rewrite: Rewrite) -> Iterator[tuple[str, object]]:
    for key, value in function.items():
        text = key in ("name", "description") and isinstance(value, str)
        yield key, rewrite(Leaf(message=TOOLS, kind="tool_schema", text=value)) if text else value
