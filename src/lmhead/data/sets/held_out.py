"""Held-out split: what is named so that it hashes lowest is never trained on, whatever else is there."""

import hashlib
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Chosen = npt.NDArray[np.bool_]


def held_out(names: Iterable[str], share: float, *, contents: Sequence[Hashable] | None = None) -> Chosen:
    """Whether each of `names` is held out: the share of them, at least one and never all.

    Args:
        contents: of each; equal ones are held out together, or none of them, under the first one's name. None: no two
            are equal.

    Example:
        >>> held_out(["a", "b", "c", "d", "e"], 0.4).nonzero()[0], held_out(["c", "d", "e", "a"], 0.4).nonzero()[0]
        (array([1, 2]), array([0, 3]))
        >>> held_out(["a", "b", "c", "d", "e"], 0.4, contents=[1, 2, 3, 4, 2]).nonzero()[0]
        array([1, 4])
    """
    keys = np.fromiter(map(key_of, names), np.uint64)
    numbers: dict[Hashable, int] = {}
    groups = None if contents is None else np.array([numbers.setdefault(each, len(numbers)) for each in contents])
    return held_out_keys(keys, share, contents=groups)


def held_out_keys(keys: npt.NDArray[np.uint64], share: float, *, contents: npt.NDArray[Any] | None = None) -> Chosen:
    """The same, by `key_of` each name [N]. `contents` [N]: equal where contents are."""
    if contents is None:
        first = group = np.arange(len(keys))
    else:
        _, first, group = np.unique(contents, return_index=True, return_inverse=True)
    ranked = np.lexsort((first, keys[first]))  # groups; of equal names, the first comes first
    sizes = np.bincount(group, minlength=len(first))[ranked]
    wanted = max(1, round(len(keys) * share))
    taken = np.cumsum(sizes) - sizes < wanted  # while those before are too few
    taken[-1:] = False
    chosen = np.zeros(len(first), np.bool_)
    chosen[ranked[taken]] = True
    result: Chosen = chosen[group]
    return result


def key_of(name: str) -> int:
    """By which a name is ranked: 64 bits of its SHA-256."""
    hashed = f"held out:{name}".encode(errors="surrogateescape")  # a file's name need not be UTF-8
    return int.from_bytes(hashlib.sha256(hashed).digest()[:8])
