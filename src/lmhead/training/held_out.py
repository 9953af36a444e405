"""Which of the data is never trained on: what is named so that it hashes lowest, whatever else is there."""

import hashlib
from collections.abc import Sequence


def held_out(names: Sequence[str], share: float) -> set[int]:
    """Indices of the share of `names`, at least one and never all, that is held out.

    Example:
        >>> sorted(held_out(["a", "b", "c", "d", "e"], 0.4)), sorted(held_out(["c", "d", "e", "a"], 0.4))
        ([1, 2], [0, 3])
    """
    ranked = sorted(range(len(names)), key=lambda index: hashlib.sha256(_hashed(names[index])).digest())
    return set(ranked[: max(0, min(max(1, round(len(names) * share)), len(names) - 1))])


def _hashed(name: str) -> bytes:
    return f"held out:{name}".encode(errors="surrogateescape")  # a file's name need not be UTF-8
