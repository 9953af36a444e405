"""What every rank does by itself and may find wrong: then all of them raise, and none waits for another for ever."""

from collections.abc import Callable
from typing import TypeVar

from lmhead.errors import InputError
from lmhead.ranks.ranks import Ranks

T = TypeVar("T")


def together(ranks: Ranks, work: Callable[[], T]) -> T:
    """What `work` gives on this rank. All ranks call it.

    Raises:
        InputError: that of the first rank on which `work` raised one.
    """
    made: list[T] = []
    error: InputError | None = None
    try:
        made.append(work())
    except InputError as caught:
        error = caught
    first = next((each for each in ranks.everyone(error) if each is not None), None)
    if first is not None:
        raise first
    return made[0]
