"""Roles, who speaks: those that chat templates read, other words that mean one of them, and roles that mean a call.

A role's meaning decides what is learnt, so none is guessed. A word that means an assistant under another name is mapped
where data is read (data/formats/chat_messages.py), and refused where a conversation is labelled. A role that nobody
knows is refused unless the template names it.
"""

import difflib
from collections.abc import Collection
from typing import Final

ROLES: Final = ("system", "developer", "user", "assistant", "tool", "ipython")
SYNONYMS: Final = {
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "bard", "bing", "bot", "model", "ai", "agent", "chatbot"), "assistant"),
    **dict.fromkeys(("function", "function_response", "function-response", "function_result", "observation"), "tool"),
    **dict.fromkeys(("tool_response", "tool_responses", "tool_result", "tool_results", "tool_output"), "tool"),
}
CALLS: Final = ("tool_call", "tool_calls", "tool_use", "function_call", "function_calls", "function-call")
KNOWN: Final = (*ROLES, *SYNONYMS, *CALLS)
_NAMED: Final = "system, user, assistant or tool"
_CUTOFF: Final = 0.75  # of difflib: usr and user, asistant and assistant
_MARGIN: Final = 0.1  # words this much farther than the nearest are no rivals of it


def near_role(role: str) -> str | None:
    """The known role that a misspelt one is nearest to; None where it is about as near to another speaker's.

    Example:
        >>> near_role("asistant"), near_role("tool_responce"), near_role("narrator")
        ('assistant', 'tool_response', None)
    """
    near = {one: difflib.SequenceMatcher(None, one, role.lower()).ratio() for one in KNOWN}
    best = max(near, key=lambda one: near[one])
    rivals = {_meaning(one) for one, ratio in near.items() if ratio > near[best] - _MARGIN}
    return best if near[best] >= _CUTOFF and len(rivals) == 1 else None


def unread_role(role: str, named: Collection[str]) -> str | None:
    """What to write for a role that would be masked as somebody else's; None where its meaning is known.

    Args:
        named: the string literals of the chat template: a role among them is one that it reads.

    Example:
        >>> unread_role("tool", ()), unread_role("ai", ()), unread_role("narrator", ["narrator"])
        (None, 'write assistant', None)
    """
    meaning = _meaning(role)
    if meaning == "a call":
        return "write the call into tool_calls of an assistant's message"
    if role in ROLES or (meaning != "assistant" and not {role, role.lower()}.isdisjoint((*named, "function"))):
        return None
    if meaning:
        return f"write {meaning}"
    near = near_role(role)
    return f"did you mean {near}?" if near else f"write {_NAMED}, or leave the row out"


def _meaning(role: str) -> str | None:
    """The role that a word stands for, or "a call"; None where nobody knows."""
    return "a call" if role in CALLS else SYNONYMS.get(role, role if role in ROLES else None)
