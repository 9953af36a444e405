"""Which of the data is never trained on: what is named so that it hashes lowest, whatever else is there."""

import hashlib
from collections.abc import Hashable, Sequence


def held_out(names: Sequence[str], share: float, *, contents: Sequence[Hashable] | None = None) -> set[int]:
    """Indices of the share of `names`, at least one and never all, that is held out.

    Args:
        contents: of each; equal ones are held out together, or none of them, under the first one's name. None: no two
            are equal.

    Example:
        >>> sorted(held_out(["a", "b", "c", "d", "e"], 0.4)), sorted(held_out(["c", "d", "e", "a"], 0.4))
        ([1, 2], [0, 3])
        >>> sorted(held_out(["a", "b", "c", "d", "e"], 0.4, contents=[1, 2, 3, 4, 2]))
        [1, 4]
    """
    groups: dict[Hashable, list[int]] = {}
    for index, content in enumerate(range(len(names)) if contents is None else contents):
        groups.setdefault(content, []).append(index)
    ranked = sorted(groups.values(), key=lambda group: hashlib.sha256(_hashed(names[group[0]])).digest())
    wanted = max(1, round(len(names) * share))
    apart: set[int] = set()
    for group in ranked[:-1]:
        if len(apart) >= wanted:
            break
        apart.update(group)
    return apart


def _hashed(name: str) -> bytes:
    return f"held out:{name}".encode(errors="surrogateescape")  # a file's name need not be UTF-8
