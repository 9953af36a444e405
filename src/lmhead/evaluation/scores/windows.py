"""Sliding windows over a text that is longer than the context: each token is predicted once, after all that fits.

stride == window    each window begins where the one before it ended: fastest, and the first tokens see little
stride < window     each token behind the first window has at least window - stride tokens before it
"""

from collections.abc import Iterator
from dataclasses import dataclass

from lmhead.errors import require, require_kind
from lmhead.options import option


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Positions [start, stop) that are read together; predictions are kept from position `keep` on."""

    start: int
    stop: int
    keep: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """How texts are read.

    Args:
        window: tokens that are read at a time.
        stride: tokens that each next window ends further on.
        in_step: the last window begins where the stride puts it, as in a run's own evaluation, and is shorter.

    Raises:
        ArgumentError: the window is less than 1 token, or the stride is not in [1, window].

    Example:
        >>> [(each.start, each.stop, each.keep) for each in Windows(window=4, stride=2).over(7)]
        [(0, 4, 0), (2, 6, 4), (3, 7, 6)]
    """

    window: int
    stride: int
    in_step: bool = False

    def __post_init__(self) -> None:
        require_kind(option("window"), self.window, int)
        require_kind(option("stride"), self.stride, int)
        require(self.window >= 1, option("window"), "be >= 1 token", self.window)
        if not 1 <= self.stride <= self.window:
            remedy = f"{max(1, self.window // 2)} gives each token at least half a window of context"
            require(False, option("stride"), f"be in [1, {self.window}], the window", self.stride, remedy)

    def over(self, count: int) -> Iterator[Window]:
        """Windows over so many positions. The last one ends with them, and has as much context as there is room for
        unless it stays in step.
        """
        stop = min(self.window, count)
        yield Window(start=0, stop=stop, keep=0)
        while stop < count:
            keep, due = stop, stop + self.stride
            stop = min(due, count)
            yield Window(start=max(0, (due if self.in_step else stop) - self.window), stop=stop, keep=keep)
