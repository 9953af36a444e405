"""Facts of conversations: what is odd before one is labelled, and what a chat template may drop or refuse.

Facts by their codes, counted while rows pass. What breaks a format is not here; what a finding says of a fact is the
doctor's.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, Literal

from lmhead.data.formats.sample import ChatSample
from lmhead.data.labelling.tally import Tally
from lmhead.labels.conversation.conversation import ASSISTANT
from lmhead.labels.template.chat_template import REASONING_FIELDS

Oddity = Literal[
    "empty_answer",
    "assistant_first",
    "consecutive_roles",
    "no_last_answer",
    "unknown_role",
    "calls_without_tools",
    "late_system_prompt",
]
Message = Mapping[str, Any]

_SYSTEM: Final = ("system", "developer")
_TOOLS: Final = ("tool", "ipython", "function")
_KNOWN: Final = (*_SYSTEM, "user", ASSISTANT, *_TOOLS)
_INLINE: Final = re.compile(r"<think>.*\S.*</think>", re.DOTALL)


def note_oddities(sample: ChatSample, found: Tally) -> None:
    """Count what is odd about one conversation."""
    for code, met in ODDITIES.items():
        first = met(sample)
        if first is not None:
            found.add(code, sample.place, first)


def note_use(sample: ChatSample, usage: Tally) -> None:
    """Count what the conversation has that a chat template may drop or refuse."""
    for use in sorted(_uses(sample.messages, bool(sample.tools))):
        usage.add(use, sample.place)


def text_of(message: Message) -> str:
    """The text of a message's content."""
    content = message.get("content")
    if isinstance(content, list | tuple):
        texts = [block if isinstance(block, str) else block.get("text", "") for block in content]
        return "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _empty_turn(sample: ChatSample) -> str | None:
    for index, message in enumerate(sample.messages):
        learnt = message["role"] == ASSISTANT and message.get("train") is not False and message.get("weight") != 0
        silent = not message.get("tool_calls") and not any(message.get(name) for name in REASONING_FIELDS)
        if learnt and silent and not isinstance(message.get("content"), list) and not text_of(message).strip():
            return f"messages[{index}]"
    return None


def _assistant_first(sample: ChatSample) -> str | None:
    speaking = [message["role"] for message in sample.messages if message["role"] not in _SYSTEM]
    return "" if speaking[:1] == [ASSISTANT] else None


def _consecutive(sample: ChatSample) -> str | None:
    for index, (one, other) in enumerate(pairwise(sample.messages)):
        if one["role"] == other["role"] and one["role"] not in _TOOLS:
            return f"messages[{index}] and [{index + 1}] of {one['role']}"
    return None


def _unanswered(sample: ChatSample) -> str | None:
    last = sample.messages[-1]["role"]
    answered = any(message["role"] == ASSISTANT for message in sample.messages)
    return f"{last}" if answered and last != ASSISTANT else None


def _unknown_role(sample: ChatSample) -> str | None:
    return next((repr(message["role"]) for message in sample.messages if message["role"] not in _KNOWN), None)


def _calls_without_tools(sample: ChatSample) -> str | None:
    return "" if not sample.tools and any(message.get("tool_calls") for message in sample.messages) else None


def _late_system(sample: ChatSample) -> str | None:
    roles = [message["role"] for message in sample.messages]
    leading = next((index for index, role in enumerate(roles) if role not in _SYSTEM), len(roles))
    return next((f"messages[{index}]" for index in range(leading, len(roles)) if roles[index] in _SYSTEM), None)


# code -> what to show of a conversation that is odd in this way; None of any other
ODDITIES: Final[dict[Oddity, Callable[[ChatSample], str | None]]] = {
    "empty_answer": _empty_turn,
    "assistant_first": _assistant_first,
    "consecutive_roles": _consecutive,
    "no_last_answer": _unanswered,
    "unknown_role": _unknown_role,
    "calls_without_tools": _calls_without_tools,
    "late_system_prompt": _late_system,
}


def _uses(messages: Sequence[Message], tools: bool) -> set[str]:
    roles = [message["role"] for message in messages]
    answers = [message for message in messages if message["role"] == ASSISTANT]
    uses = {"chat"}
    if any(role in _SYSTEM for role in roles):
        uses.add("system")
    if tools or any(message.get("tool_calls") for message in messages):
        uses.add("tools")
    if not tools:
        uses.add("without_tools")
    if any(one == other and one not in _TOOLS for one, other in pairwise(roles)):
        uses.add("uses_consecutive")
    if [role for role in roles if role not in _SYSTEM][:1] == [ASSISTANT]:
        uses.add("uses_assistant_first")
    for where, has in (("field", _has_field), ("inline", _has_inline)):
        if any(map(has, answers)):
            uses.add(f"reasoning_{where}")
        if any(map(has, answers[:-1])):
            uses.add(f"earlier_reasoning_{where}")
    return uses


def _has_field(message: Message) -> bool:
    return any(message.get(name) for name in REASONING_FIELDS)


def _has_inline(message: Message) -> bool:
    return bool(_INLINE.search(text_of(message)))
