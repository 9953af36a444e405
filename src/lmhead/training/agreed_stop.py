"""Agreed stop: one process stops when a signal asks it to, several ranks when all of them know that one was asked."""

from typing import final

from lmhead.ranks.ranks import Ranks
from lmhead.training.stopping import StopRequest


class Interrupted(Exception):  # noqa: N818
    """A stop was asked for while something was made that can be made again."""


@final
class AgreedStop:
    """True from then on. What is collective says so."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self.request = StopRequest()  # this rank's own
        self._agreed: str | None = None  # the signal that all ranks know of

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def signal(self) -> str | None:
        """The name of the one that asked for it."""
        return self.request.name if self._ranks.size == 1 else self._agreed

    @property
    def flag(self) -> float:
        """What this rank adds to a sum over all of them, for `heard`."""
        return float(bool(self.request))

    def heard(self, flags: float) -> None:
        """Note the sum of all ranks' flags. Collective where it is not 0."""
        if flags and self._ranks.size > 1 and self._agreed is None:
            names = self._ranks.everyone(self.request.name)
            self._agreed = next(name for name in names if name is not None)

    def meet(self) -> None:
        """Let every rank know what each was asked. Collective."""
        if self._ranks.size > 1:
            self.heard(*self._ranks.summed([self.flag]))

    def go_on(self) -> None:
        """Of the one rank that works while the others wait for it.

        Raises:
            Interrupted: it is asked to stop.
        """
        self._ranks.beat()
        if self.request:
            raise Interrupted
