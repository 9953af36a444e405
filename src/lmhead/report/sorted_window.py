"""SortedWindow: the last few values of a series, in order and by size, for running medians and quartiles."""

from bisect import bisect_left, insort
from collections import deque
from typing import final


@final
class SortedWindow:
    """The last `size` values that were added."""

    def __init__(self, size: int) -> None:
        self.last: deque[float] = deque(maxlen=size)  # in the order in which they came
        self.by_size: list[float] = []

    def add(self, value: float) -> None:
        """One more; the oldest goes where there are enough."""
        if self.full:
            del self.by_size[bisect_left(self.by_size, self.last[0])]
        self.last.append(value)
        insort(self.by_size, value)

    @property
    def full(self) -> bool:
        """As many were added as it holds."""
        return len(self.last) == self.last.maxlen

    @property
    def median(self) -> float:
        """The upper one of two in the middle."""
        return self.by_size[len(self.by_size) // 2]
