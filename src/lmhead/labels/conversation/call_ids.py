"""Ids of calls: what a skeleton holds of them is what they look like and which are equal, not what they are.

Traces number their calls, so that no two would have a skeleton in common. Most templates do not write ids. Where one is
written around a turn, ids are compared as they are.
"""

from collections.abc import Collection, Iterable
from typing import Any, Final

_KEYS: Final = frozenset({"id", "tool_call_id", "tool_use_id", "call_id"})


def without_ids(value: Any, named: Collection[str], found: list[str]) -> Any:
    """A message with its ids replaced by what they look like; the ids go to `found`. Words of a template stay."""
    if isinstance(value, dict):
        return {key: _without(key, item, named, found) for key, item in value.items()}
    return [without_ids(item, named, found) for item in value] if isinstance(value, list) else value


def _without(key: object, value: Any, named: Collection[str], found: list[str]) -> Any:
    if key in _KEYS and isinstance(value, str) and value not in named:
        found.append(value)
        return "".join("a" if character.isalnum() else character for character in value)
    return without_ids(value, named, found)


def spelled(ids: list[str], texts: Iterable[str]) -> tuple[object, ...]:
    """Which ids are equal; the ids themselves where one of them stands in the texts."""
    if written(ids, texts):
        return tuple(ids)
    order: dict[str, int] = {}
    return tuple(order.setdefault(one, len(order)) for one in ids)


def written(ids: list[str], texts: Iterable[str]) -> bool:
    """Whether an id stands in one of the texts."""
    return any(one in text for text in texts for one in set(ids))
