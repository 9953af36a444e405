"""The strings of a conversation that a template renders as text: contents, reasoning, calls, and what tools there are.

Names of fields, roles, ids and numbers are no leaves: templates test them, or require a form of them. What is neither a
leaf nor metadata (metadata_keys.py) is a value: it has to be found in the render all the same (values.py).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from lmhead.labels.chat.python_text import KeyText, Told
from lmhead.labels.conversation.metadata_keys import CALLS, KEYWORDS, MEDIA, METADATA, NAMED, THOUGHTS
from lmhead.labels.template.chat_template import REASONING_FIELDS, Message

LeafKind = Literal["content", "reasoning", "call", "argument_name", "tool_schema", "schema_detail"]
Path = tuple[str | int, ...]
TOOLS = -1  # the "message" of leaves that belong to the tools
_READ: Final = frozenset({*REASONING_FIELDS, "role", "content", "refusal", "tool_calls", "function_call"})
_CALLED_WITH: Final = ("arguments", "input", "parameters")
_MAY_BE_SCHEMAS: Final = ("additionalProperties", "unevaluatedProperties")
_DESCRIBED: Final = ("name", "description")


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One string: whose it is, and what it is to that message."""

    message: int  # index, or TOOLS
    kind: LeafKind
    text: str
    path: Path = ()  # in the message, or in the list of tools
    alone: bool = False  # the message has no other text: empty, it would leave no trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A number, a boolean, a null or an empty container, which has to stand in the render as well."""

    message: int
    value: object
    path: Path


Rewrite = Callable[[Leaf], str]


def rewritten(
    messages: Sequence[Message], tools: Sequence[Message] | None, rewrite: Rewrite, told: Told | None = None
) -> tuple[list[Message], list[Message] | None]:
    """The conversation with every leaf replaced by what `rewrite` makes of it, in the order in which leaves are met.

    Its containers tell when they are written as Python text, where `told` is given.
    """
    walk = _Walk(rewrite, _ignore, told)
    new_messages = [walk.message(index, message) for index, message in enumerate(messages)]
    return new_messages, None if tools is None else walk.sequence([walk.tool(i, tool) for i, tool in enumerate(tools)])


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


def leaves_and_values(messages: Sequence[Message], tools: Sequence[Message] | None) -> list[Leaf | Value]:
    """Every leaf of a conversation, and between them what else has to be rendered, in the order in which they stand."""
    found: list[Leaf | Value] = []

    def take(leaf: Leaf) -> str:
        found.append(leaf)
        return leaf.text

    walk = _Walk(take, found.append, None)
    for index, message in enumerate(messages):
        walk.message(index, message)
    for index, tool in enumerate(tools or ()):
        walk.tool(index, tool)
    return found


def media(messages: Sequence[Message]) -> Iterator[tuple[int, Path, str]]:
    """(message, path, type) of every block that is no text."""
    for index, message in enumerate(messages):
        if isinstance(message.get("content"), list):
            yield from _media(index, ("content",), message["content"])


def _media(index: int, path: Path, value: object) -> Iterator[tuple[int, Path, str]]:
    if isinstance(value, list):
        for place, item in enumerate(value):
            yield from _media(index, (*path, place), item)
    elif isinstance(value, dict):
        if is_media(value):
            yield index, path, str(value.get("type"))
        elif isinstance(value.get("content"), list):
            yield from _media(index, (*path, "content"), value["content"])


def is_media(block: Message) -> bool:
    """Whether a block is an image, a sound, a file."""
    kind = block.get("type")
    source = block.get("source")
    return kind in MEDIA or (kind == "document" and isinstance(source, dict) and source.get("type") != "text")


class _Walk:
    """Goes through a conversation, and makes a new one."""

    def __init__(self, rewrite: Rewrite, value: Callable[[Value], None], told: Told | None) -> None:
        self.rewrite = rewrite
        self.value = value
        self.dictionary: Callable[[Any], dict[Any, Any]] = told.of_dict if told else dict
        self.sequence: Callable[[Any], list[Any]] = told.of_list if told else list
        self.wrapped: Callable[[Any], Any] = told.wrapped if told else _same

    def message(self, index: int, message: Message) -> Message:
        new = self.dictionary(message)
        thoughts = [field for field in REASONING_FIELDS if isinstance(message.get(field), str)]
        for field in thoughts:
            new[field] = self.rewrite(Leaf(message=index, kind="reasoning", text=message[field], path=(field,)))
        calls, content = message.get("tool_calls"), message.get("content")
        if isinstance(content, str):
            alone = not calls and not any(message.get(field) for field in REASONING_FIELDS)
            new["content"] = self.rewrite(
                Leaf(message=index, kind="content", text=content, path=("content",), alone=alone)
            )
        elif isinstance(content, list):
            new["content"] = self.blocks(index, ("content",), "content", content)
        if isinstance(message.get("refusal"), str):
            new["refusal"] = self.rewrite(
                Leaf(message=index, kind="content", text=message["refusal"], path=("refusal",))
            )
        if isinstance(calls, list):
            new["tool_calls"] = self.sequence(
                self.call(index, ("tool_calls", place), call) for place, call in enumerate(calls)
            )
        if isinstance(message.get("function_call"), dict):
            new["function_call"] = self.function(index, ("function_call",), message["function_call"])
        for key in message.keys() - _READ:
            if isinstance(message[key], dict | list):
                new[key] = self.wrapped(message[key])
        return new

    def blocks(self, index: int, path: Path, kind: LeafKind, blocks: list[Any]) -> list[Any]:
        return self.sequence(self.block(index, (*path, place), kind, block) for place, block in enumerate(blocks))

    def block(self, index: int, path: Path, kind: LeafKind, block: object) -> object:
        """A block of a content that is a list: text, a thought, a call, a result; media are left alone."""
        if isinstance(block, str):
            return self.rewrite(Leaf(message=index, kind=kind, text=block, path=path))
        if not isinstance(block, dict):
            self.value(Value(message=index, value=block, path=path))
            return block
        if is_media(block):
            return self.wrapped(block)
        named = block.get("type")
        if named in CALLS:
            return self.function(index, path, block)
        kind = "reasoning" if named in THOUGHTS else kind
        new = self.dictionary(block)
        for key, value in block.items():
            if key in METADATA or (named == "redacted_thinking" and key == "data"):
                new[key] = self.wrapped(value)
            elif isinstance(value, list):
                new[key] = self.blocks(index, (*path, key), kind, value)
            elif value is not None:
                new[key] = self.block(index, (*path, key), kind, value)
        return new

    def call(self, index: int, path: Path, call: object) -> object:
        """A call, with its function's fields in `function` or beside its id."""
        if not isinstance(call, dict):
            return call
        if not isinstance(call.get("function"), dict):
            return self.function(index, path, call)
        new = self.dictionary(call)
        for key, value in call.items():
            if key == "function":
                new[key] = self.function(index, (*path, key), value)
            elif key in METADATA:
                new[key] = self.wrapped(value)
            else:
                new[key] = self.argument(index, (*path, key), value)
        return new

    def function(self, index: int, path: Path, function: Message) -> Message:
        new = self.dictionary(function)
        if isinstance(function.get("name"), str):
            new["name"] = self.rewrite(Leaf(message=index, kind="call", text=function["name"], path=(*path, "name")))
        for key, value in function.items():
            if key == "name" and isinstance(value, str):
                continue
            if key in METADATA and key != "name":
                new[key] = self.wrapped(value)
            elif value is not None:
                new[key] = self.argument(index, (*path, key), value)
        return new

    def argument(self, index: int, path: Path, value: object) -> object:
        """Arguments: a string of JSON, or any nesting of strings and values, with their names."""
        if isinstance(value, str):
            return self.rewrite(Leaf(message=index, kind="call", text=value, path=path))
        if isinstance(value, dict) and value:
            return self.dictionary(
                (self.key(index, path, "argument_name", key), self.argument(index, (*path, key), item))
                for key, item in value.items()
            )
        if isinstance(value, list) and value:
            return self.sequence(self.argument(index, (*path, place), item) for place, item in enumerate(value))
        if path[-1] not in _CALLED_WITH or value not in ({}, None):
            self.value(Value(message=index, value=value, path=path))
        return self.wrapped(value)

    def key(self, index: int, path: Path, kind: LeafKind, key: Any) -> Any:
        """A name that the data gives, which is looked up as what it was."""
        if not isinstance(key, str):
            return key
        new = self.rewrite(Leaf(message=index, kind=kind, text=key, path=(*path, key)))
        return key if new == key else KeyText.of(new, key)

    def tool(self, place: int, tool: Message) -> Message:
        """A tool's name and description, and what its parameters say; keywords are what templates translate."""
        new = self.dictionary(tool)
        for key, value in tool.items():
            if key == "function" and isinstance(value, dict):
                new[key] = self.schema((place, key), value, named=False)
            else:
                new[key] = self.described((place,), key, value)
        return new

    def schema(self, path: Path, schema: Message, *, named: bool) -> Message:
        """A schema; `named`: its keys are names that the data gives."""
        if named:
            return self.dictionary(
                (self.key(TOOLS, path, "schema_detail", key), self.detail((*path, key), value))
                for key, value in schema.items()
            )
        return self.dictionary((key, self.described(path, key, value)) for key, value in schema.items())

    def described(self, path: Path, key: str, value: object) -> object:
        """What a key of a schema holds."""
        if key in KEYWORDS and not (key in _MAY_BE_SCHEMAS and isinstance(value, dict)):
            return self.wrapped(value)
        if isinstance(value, str) and key in _DESCRIBED and len(path) <= 2:
            return self.rewrite(Leaf(message=TOOLS, kind="tool_schema", text=value, path=(*path, key)))
        if isinstance(value, dict) and key in NAMED:
            return self.schema((*path, key), value, named=True)
        return self.detail((*path, key), value)

    def detail(self, path: Path, value: object) -> object:
        if isinstance(value, str):
            return self.rewrite(Leaf(message=TOOLS, kind="schema_detail", text=value, path=path))
        if isinstance(value, dict):
            return self.schema(path, value, named=False)
        if isinstance(value, list):
            return self.sequence(self.detail((*path, place), item) for place, item in enumerate(value))
        if value is not None:
            self.value(Value(message=TOOLS, value=value, path=path))
        return value


def _ignore(value: Value) -> None:
    pass


def _same(value: Any) -> Any:
    return value
