"""Sources as a card has them: each by itself; of very many files their folders, of very many names the largest."""

from collections.abc import Mapping
from typing import Final

from lmhead.batches.source_groups import MOST_LOGGED, source_groups

_MOST_NAMES: Final = 256


def shown_sources(tokens: Mapping[str, int]) -> dict[str, str]:
    """Of each source what it is shown as: itself, or the group that it is in.

    Args:
        tokens: scored, of each.

    Example:
        >>> shown_sources({"b": 1, "a": 2})
        {'a': 'a', 'b': 'b'}
        >>> many = [f"{folder}/{number}.txt" for folder in "xy" for number in range(20)]
        >>> sorted(set(shown_sources(dict.fromkeys(many, 1)).values()))
        ['x/', 'y/']
    """
    names = sorted(tokens)
    most = MOST_LOGGED if any("/" in name for name in names) else _MOST_NAMES
    if len(names) <= most:
        return {name: name for name in names}
    return source_groups({name: tokens[name] for name in names}, most=most)
