"""Position bands: how many tokens of its document stand before the one that predicts a token, in factors of four."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

POSITION_EDGES: Final = tuple(16 * 4**power for power in range(12))


def position_bands() -> list[str]:
    """The bands' names, in their order: 0-15, 16-63, ...

    Example:
        >>> position_bands()[:3]
        ['0-15', '16-63', '64-255']
    """
    return bands(POSITION_EDGES, "{:,}-{:,}", "{:,} and more")


def bands(edges: Sequence[int], within: str, beyond: str) -> list[str]:
    """The names of what lies below each edge, and above the last."""
    inner = [within.format(low, high - 1) for low, high in pairwise((0, *edges))]
    return [*inner, beyond.format(edges[-1])]
