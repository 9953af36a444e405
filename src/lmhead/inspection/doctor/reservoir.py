"""Reservoir sample: a part of many rows, spread over them and the same in each run."""

import random
from collections.abc import Iterable
from typing import Final, TypeVar

Row = TypeVar("Row")
_SEED: Final = 0


def spread(rows: Iterable[Row], count: int) -> tuple[list[Row], int]:
    """(`count` of the rows, each as likely as any other, in their order; how many there are): all are read once.

    Example:
        >>> spread(range(1000), 5)
        ([2, 506, 785, 819, 930], 1000)
    """
    draw = random.Random(_SEED)
    kept: list[tuple[int, Row]] = []
    total = 0
    for total, row in enumerate(rows, start=1):
        if len(kept) < count:
            kept.append((total, row))
        elif (place := draw.randrange(total)) < count:
            kept[place] = (total, row)
    kept.sort(key=lambda pair: pair[0])
    return [row for _, row in kept], total
