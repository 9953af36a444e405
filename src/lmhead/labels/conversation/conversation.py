"""Messages as a template sees them, and what each message says about its own training.

What is said of the training (turn_flags.py) and `prefill` are ours: they are taken out. A key whose value is None is as
good as missing: tables fill their columns with it, and templates would write "None".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, Final

from lmhead.errors import ArgumentError, ArgumentTypeError, require
from lmhead.labels.conversation.roles import SYNONYMS
from lmhead.labels.conversation.thoughts import leading_thought
from lmhead.labels.conversation.turn_flags import FLAGS, train_of, weight_of
from lmhead.labels.targets import Reason
from lmhead.labels.template.chat_template import REASONING_FIELDS, Message, plain
from lmhead.shown import shown_value

ASSISTANT: Final = "assistant"
_INSTEAD_OF_CONTENT: Final = (*REASONING_FIELDS, "tool_calls", "function_call", "refusal")
_REASONS: Final = {
    "system": Reason.SYSTEM,
    "developer": Reason.SYSTEM,
    "user": Reason.USER,
    "tool": Reason.TOOL,
    "ipython": Reason.TOOL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Messages in plain data, and for each of them whether it says that it is trained, and with what weight."""

    messages: list[Message]
    tools: list[Message] | None
    train: list[bool | None]  # None: the message does not say
    weight: list[float]
    prefill: list[str]  # what the prompt has given of a message already: its content begins with it

    @staticmethod
    def of(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None) -> "Conversation":
        """A conversation as given by a caller or a file.

        Raises:
            ArgumentTypeError: messages are no list of dicts, or a content is no text.
            ArgumentError: there is none, or a role or a flag of training breaks its rule.
        """
        if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence):
            raise ArgumentTypeError(f"messages must be a list of dicts, got {type(messages).__name__}")
        require(len(messages) > 0, "messages", "hold at least one message", "an empty list")
        for index, message in enumerate(messages):
            _check(index, message)
        return Conversation(
            messages=[_bare(message) for message in messages],
            tools=None if tools is None else [plain(tool) for tool in tools],
            train=[train_of(message, f"messages[{index}]") for index, message in enumerate(messages)],
            weight=[weight_of(message, f"messages[{index}]") for index, message in enumerate(messages)],
            prefill=[_prefill(index, message) for index, message in enumerate(messages)],
        )

    def chosen(self, only_last: bool) -> list[int]:
        """The messages that are trained: an assistant's, all or the last, unless they say otherwise themselves."""
        own = [index for index, message in enumerate(self.messages) if message["role"] == ASSISTANT]
        default = set(own[-1:] if only_last else own)
        return [index for index in own if (index in default if self.train[index] is None else self.train[index])]

    def reason(self, index: int) -> Reason:
        """Why the text of a message is not learnt, where it is not; of the tools for a negative index."""
        if index < 0:
            return Reason.TOOL_SCHEMA
        if self.messages[index]["role"] == ASSISTANT:
            return Reason.EXCLUDED if self.train[index] is False else Reason.EARLIER_TURN
        role: str = self.messages[index]["role"]
        return _REASONS.get(SYNONYMS.get(role, role), Reason.OTHER_ROLE)


def _check(index: int, message: object) -> None:
    name = f"messages[{index}]"
    if not isinstance(message, Mapping):
        raise ArgumentTypeError(f"{name} must be a dict with role and content, got {type(message).__name__}")
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or not role:
        raise ArgumentError(
            f"{name} must have a role, got {role!r}: one of system, user, assistant, tool (it has {list(message)})"
        )
    if content is not None and not isinstance(content, str | list | tuple):
        raise ArgumentTypeError(f"{name}.content must be a string or a list of blocks, got {type(content).__name__}")
    if role == ASSISTANT:
        _check_answer(name, message)


def _check_answer(name: str, message: Mapping[str, Any]) -> None:
    """Raise where an assistant says nothing, or says its reasoning twice and not alike."""
    for field in REASONING_FIELDS:
        if not isinstance(message.get(field), str | NoneType):
            raise ArgumentTypeError(f"{name}.{field} must be a string, got {type(message[field]).__name__}")
    content = message.get("content")
    if content is None and not any(message.get(key) for key in _INSTEAD_OF_CONTENT):
        raise ArgumentError(f'{name}.content must be a text, got null: give it a text ("" for none), or tool_calls')
    said = next((field for field in REASONING_FIELDS if message.get(field)), None)
    if said is None or not isinstance(content, str):
        return
    thought = leading_thought(content)
    if thought is not None and thought.split() != message[said].split():
        raise ArgumentError(
            f"{name}.{said} must be what the content has as its thought, got {shown_value(message[said])} and "
            f"{shown_value(thought)}: give the reasoning once"
        )


def _prefill(index: int, message: Mapping[str, Any]) -> str:
    """What the prompt gave of an assistant's content; empty where it gave nothing."""
    given, content = message.get("prefill"), message.get("content")
    if not given:
        return ""
    if not isinstance(given, str):
        raise ArgumentTypeError(f"messages[{index}].prefill must be a string, got {type(given).__name__}")
    if message["role"] != ASSISTANT or not isinstance(content, str) or not content.startswith(given):
        raise ArgumentError(
            f"messages[{index}].prefill must be what the content of an assistant's message begins with, got "
            f"{given!r} for {content!r} of role {message['role']!r}: give the whole answer as content"
        )
    return given


def _bare(message: Mapping[str, Any]) -> Message:
    ours = (*FLAGS, "prefill")
    kept = {key: value for key, value in message.items() if value is not None and key not in ours}
    bare = plain(kept)
    assert isinstance(bare, dict)
    return bare
