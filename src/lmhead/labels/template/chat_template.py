"""A chat template: messages in, text out; the same text that transformers' `apply_chat_template` renders."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from jinja2 import nodes
from jinja2.exceptions import TemplateError as JinjaError
from jinja2.exceptions import TemplateSyntaxError, UndefinedError

from lmhead.errors import ArgumentError, TemplateError
from lmhead.labels.template.sandbox import Sandbox

Message = dict[str, Any]
REASONING_FIELDS: Final = ("reasoning_content", "thinking", "reasoning", "tool_plan")

# What an expression of a template can raise: it adds None to a string, indexes past an end, divides by zero, ...
_FAILURES: Final = (
    *(JinjaError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError),
    *(RuntimeError, MemoryError, AssertionError),  # RecursionError is a RuntimeError
)
_UNCOMPILABLE: Final = (SyntaxError, RecursionError, MemoryError, ValueError)  # nested too deeply; a number too long


class ChatTemplate:
    """One Jinja source, with the special tokens and the date that it sees.

    Args:
        special_tokens: what the template may name, such as `bos_token`.
        now: what `strftime_now` formats.

    Raises:
        ArgumentError: `source` is not Jinja.

    Example:
        >>> template = ChatTemplate("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}")
        >>> template.render([{"role": "user", "content": "Hi"}])
        '<user>Hi'
    """

    def __init__(
        self, source: str, *, special_tokens: Mapping[str, str] | None = None, now: datetime | None = None
    ) -> None:
        self.source = source
        self._special_tokens = dict(special_tokens or {})
        self._sandbox = Sandbox(now or datetime.now())
        try:
            self._template, self.literals, self.tested = self._sandbox.compiled(source)
        except TemplateSyntaxError as error:
            message = f"chat_template must be Jinja, got a syntax error in line {error.lineno}: {error.message}"
            raise ArgumentError(message) from error
        except _UNCOMPILABLE as error:
            found = f"{type(error).__name__}: {error}"
            raise ArgumentError(f"chat_template must be a program that Python can compile, got {found}") from error

    @cached_property
    def names(self) -> frozenset[str]:
        """Every key and attribute that the template's expressions name: of what it does not name it reads nothing, but
        where it walks over all there is."""
        attributes = {node.attr for node in self._sandbox.parse(self.source).find_all(nodes.Getattr)}
        return self.literals.union(attributes)

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Message] | None = None,
        add_generation_prompt: bool = False,
        **variables: object,
    ) -> str:
        """The text of a conversation.

        Raises:
            TemplateError: the template refuses the conversation, fails on it, or does what the sandbox forbids.
        """
        seen = self._special_tokens | variables
        seen |= {"documents": variables.get("documents"), "add_generation_prompt": add_generation_prompt}
        seen |= {"messages": [_with_all_reasoning_fields(message) for message in messages], "tools": tools}
        try:
            return self._sandbox.rendered(self._template, seen, _characters(messages))
        except _FAILURES as error:
            found = f"{type(error).__name__}: {error}"
            message = f"messages must be such that the chat template renders them, got {found}{_hint(error, messages)}"
            raise TemplateError(message) from error


def _hint(error: Exception, messages: Sequence[Message]) -> str:
    """What may help where a template takes a list of blocks for a string; nothing where it refuses by itself."""
    refused = isinstance(error, JinjaError) and not isinstance(error, UndefinedError)
    if refused or not any(isinstance(message.get("content"), list) for message in messages):
        return ""
    return ": it may read contents as strings alone, so write blocks of a content as one text"


def plain(value: object) -> Any:
    """The same value out of dicts, lists and scalars: methods of anything else could be called from a template.

    Keys whose value is None stay: whether they are left out is `messages`' rule, not that of arguments.
    """
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    for kind in (str, int, float):  # their subclasses, such as an enum of strings
        if isinstance(value, kind):
            return kind(str.__str__(value)) if kind is str else kind(value)
    return f"<{type(value).__name__}>"  # an image or an array: templates ask whether it is there, not what it holds


def _characters(value: object) -> int:
    """Of all strings in plain data."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_characters, value.values()))
    return sum(map(_characters, value)) if isinstance(value, list | tuple) else 0


def _with_all_reasoning_fields(message: Message) -> Message:
    """Templates read the reasoning under one name or another; data has it under a third."""
    reasoning = next((message[field] for field in REASONING_FIELDS if message.get(field) is not None), None)
    if reasoning is None:
        return message
    plan = {"tool_plan": reasoning} if message.get("tool_calls") else {}
    return type(message)({"thinking": reasoning, **plan, **message, "reasoning_content": reasoning})
