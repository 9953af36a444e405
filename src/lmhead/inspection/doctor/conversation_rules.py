"""What can be odd about a conversation before it is labelled: one record a rule. What breaks a format is not here.

Each `met` gives what to show of a conversation that the rule is about, None for any other.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from lmhead.data.formats.sample import ChatSample
from lmhead.data.labelling.tally import Tally
from lmhead.inspection.finding import Finding, Severity
from lmhead.labels.conversation.conversation import ASSISTANT
from lmhead.labels.template.chat_template import REASONING_FIELDS
from lmhead.options import option

_SYSTEM: Final = ("system", "developer")
_TOOLS: Final = ("tool", "ipython", "function")
_KNOWN: Final = (*_SYSTEM, "user", ASSISTANT, *_TOOLS)
_INLINE: Final = re.compile(r"<think>.*\S.*</think>", re.DOTALL)

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. `{rows}` and `{first}` in its texts are how many rows, and what `met` gave for the first."""

    code: str
    severity: Severity
    message: str
    remedy: str
    met: Callable[[ChatSample], str | None]


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


RULES: Final = (
    Rule(
        code="empty_answer",
        severity="warning",
        message="an assistant's turn is empty in {rows}, {first} of the first",
        remedy='the model would learn to end at once: leave the row out, or write "train": false in that message',
        met=_empty_turn,
    ),
    Rule(
        code="assistant_first",
        severity="warning",
        message="an assistant's turn comes before any question in {rows}",
        remedy='add what it answers, or write "train": false in that message',
        met=_assistant_first,
    ),
    Rule(
        code="consecutive_roles",
        severity="warning",
        message="two turns of one role follow each other in {rows}, in the first {first}",
        remedy="join them, or find the turn that was lost between them; many chat templates refuse such rows",
        met=_consecutive,
    ),
    Rule(
        code="no_last_answer",
        severity="warning",
        message="nothing is learnt of what follows the last answer in {rows}; the first ends with a turn of {first}",
        remedy="cut the conversation behind the last answer, or find the answer that was lost",
        met=_unanswered,
    ),
    Rule(
        code="unknown_role",
        severity="warning",
        message="a role is none of system, developer, user, assistant and tool in {rows}, the first {first}",
        remedy="nothing of such a turn is learnt, and few chat templates render it: rename the role",
        met=_unknown_role,
    ),
    Rule(
        code="calls_without_tools",
        severity="warning",
        message="tools are called in {rows} that name no tools",
        remedy="give the tools' schemas in a column `tools`, as inference will",
        met=_calls_without_tools,
    ),
    Rule(
        code="late_system_prompt",
        severity="info",
        message="a system prompt stands behind other turns in {rows}, {first} of the first",
        remedy=f"many chat templates drop it there: look at the tokens with {option('show', 1)}",
        met=_late_system,
    ),
)


def look_at(sample: ChatSample, found: Tally) -> None:
    """Count the rules that one conversation meets."""
    for rule in RULES:
        first = rule.met(sample)
        if first is not None:
            found.add(rule.code, sample.place, first)


def findings(found: Tally) -> Iterator[Finding | None]:
    """A finding for each rule that was met."""
    for rule in RULES:
        yield found.finding(rule.code, rule.severity, rule.message, rule.remedy)


def note_use(sample: ChatSample, usage: Tally) -> None:
    """Count what the conversation has that a chat template may drop or refuse."""
    for use in sorted(_uses(sample.messages, bool(sample.tools))):
        usage.add(use, sample.place)


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
