"""Which turns of a long conversation are examined in the whole of it, so that windows may stand for the others.

What a template does at a turn may depend on what is far from it: how many messages there are, whether their number is
odd, a switch like `/no_think` in some old message, a tool that was called once. Each turn examined in the whole
conversation says whether its window tells the same. Examined are, of turns behind the same role:

- the first ones in a row: what alternates, or changes early, shows there;
- the last one: what changes with the number of messages, or for good, shows there;
- between them the 8th, the 16th, the 32nd, ..., in the first half: together they cost less than the last one;
- the first and the last with calls, and without;
- the first behind each message where something rare changes: a role, a field, a word that the template names.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Sequence
from math import isqrt
from typing import Any, Final

from lmhead.labels.chat.markers import Marked
from lmhead.labels.template.chat_template import Message

_IN_A_ROW: Final = 4  # at least
_RARE: Final = 6  # a change of a role, a field, a word is rare where there are no more of it
_MOST_BEHIND_EVENTS: Final = 2  # messages before turns that are examined behind rare changes, over all messages


def examined(marked: Marked, indices: Sequence[int]) -> list[int]:
    """The turns out of those that messages `indices` are, in order."""
    behind: dict[str, list[int]] = defaultdict(list)  # by the role before them
    kinds: dict[Hashable, list[int]] = defaultdict(list)
    for index in indices:
        role = marked.messages[index - 1]["role"] if index else ""
        behind[role].append(index)
        kinds[role, bool(marked.messages[index].get("tool_calls"))].append(index)
    in_a_row = max(_IN_A_ROW, isqrt(len(indices)))
    chosen = {turn for turns in kinds.values() for turn in (turns[0], turns[-1])}
    for turns in behind.values():
        chosen |= {*turns[:in_a_row], turns[-1]}
        chosen |= {turns[2**power - 1] for power in range(3, len(turns).bit_length() - 1)}
    left = _MOST_BEHIND_EVENTS * len(marked.messages)
    for event in _events(marked):
        next_ones = {turns[place] for turns in behind.values() if (place := bisect_right(turns, event)) < len(turns)}
        left -= sum(next_ones - chosen)
        if left < 0:
            break
        chosen |= next_ones
    return sorted(chosen)


def _events(marked: Marked) -> list[int]:
    """The messages where something rare begins or ends: roles, fields and switches, then words, the rarest first."""
    changes: dict[tuple[str, Hashable], list[int]] = defaultdict(list)
    before: dict[str, set[Hashable]] = {}
    for index, message in enumerate(marked.messages):
        role = message["role"]
        said = _said(message, marked.named) | {("word", word) for word in marked.asked.get(index, ())}
        for own, now in (("", {role}), (role, said)):
            for feature in now.symmetric_difference(before.get(own, set())):
                changes[own, feature].append(index)
            before[own] = now
    found: list[int] = []
    for _, places in sorted(changes.items(), key=lambda change: (_is_word(change[0][1]), len(change[1]))):
        found += places if len(places) <= _RARE else places[:1]
    return list(dict.fromkeys(found))


def _is_word(feature: Hashable) -> bool:
    """Whether a feature is a word of letters, which texts hold by chance."""
    return isinstance(feature, tuple) and feature[0] == "word" and str(feature[1]).replace(" ", "").isalnum()


def _said(message: Message, named: frozenset[str]) -> set[Hashable]:
    """The fields of a message, its switches, and its keys and values that the template names."""
    found: set[Hashable] = set()
    pending: list[tuple[str, Any]] = [(key, value) for key, value in message.items() if key != "role"]
    while pending:
        key, value = pending.pop()
        if key in named:
            found.add(("key", key, bool(value)))
        if isinstance(value, bool) or (isinstance(value, str) and value in named):
            found.add(("value", key, value))
        elif isinstance(value, dict):
            pending += value.items()
        elif isinstance(value, list):
            pending += [(key, item) for item in value]
    return found
