"""Ranks: what the processes of a run do together. One process alone is the simplest case, and every default."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from lmhead.ranks.mesh import MeshPlan

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


class Ranks:
    """One process: whatever the ranks do together, it does by itself."""

    rank: int = 0
    on_host: int = 1  # ranks of this machine
    plan: MeshPlan = MeshPlan()
    device: "torch.device | None" = None  # of this rank; None: whichever the config says

    @property
    def size(self) -> int:
        """Ranks of the run."""
        return self.plan.size

    @property
    def first(self) -> bool:
        """Whether this one writes what is written once: the run's folder, the log, what is printed."""
        return self.rank == 0

    def rows(self, first: int, count: int) -> tuple[int, int]:
        """Of the rows first, first + 1, ..., `count` of them, this rank's own: (the first, how many); perhaps none."""
        readers, reader = self.plan.readers, self.plan.reader(self.rank)
        each, more = divmod(count, readers)
        return first + reader * each + min(reader, more), each + (reader < more)

    def summed(self, values: Sequence[float]) -> list[float]:
        """The sum over all ranks of each value, in float64: one collective. Equal on all ranks."""
        return [float(value) for value in values]

    def agreed(self, work: Callable[[], T], *, long: bool = False) -> T:
        """What `work` gives on rank 0, where alone it is done; what it raises there, on all ranks.

        The others give up where rank 0 does not call `beat` within the time-out.

        Args:
            long: unless it uses a processor or a disk.
        """
        return work()

    def shared(self, work: Callable[[], T]) -> T:
        """As `agreed`, of something large: arrays in it are one file on each host, which its ranks map."""
        return work()

    def gathered(self, value: T) -> list[T] | None:
        """Of every rank its value, in rank order, on rank 0; None on the others."""
        return [value]

    def everyone(self, value: T) -> list[T]:
        """Of every rank its value, in rank order, on all ranks."""
        return [value]

    def beat(self) -> None:
        """Tell the others, who wait, that this rank is at work."""

    def at(self, what: str) -> None:
        """Say what this rank is at, "step 7": where it is lost, that is told."""

    def began(self, folder: str) -> None:
        """Say that the folder is a run's from now on: where all ranks are started again, they resume it."""

    def over(self) -> None:
        """Say that all is trained and evaluated: whoever is stopped from now on has nothing to go on with."""

    def leave(self) -> None:
        """The run is over: no call is made any more."""


ALONE = Ranks()


def unlike(values: Sequence[Any]) -> bool:
    """Whether not all of the ranks' values are the same."""
    return any(value != values[0] for value in values)
