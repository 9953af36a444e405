"""Agreement by a store: what rank 0 does alone, all ranks get, or the error that it ended in. No process groups."""

import pickle
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final, TypeVar, final

import torch.distributed as dist
from torch._C._distributed_c10d import Store

from lmhead.errors import LostRankError
from lmhead.options import option

T = TypeVar("T")

_LOOK_AGAIN: Final = timedelta(seconds=1)
_AT_ONCE: Final = 2**22  # bytes: the store takes no value of more than twice as many


class SilentRankError(LostRankError):
    """Rank 0 gives no sign of work."""


@final
class Agreements:
    """One rank's end of them; every rank makes the same ones in the same order.

    Args:
        store: of this attempt, and of these agreements alone.
        timeout: seconds until rank 0, where it gives no sign, is called hung.
        used: changes as long as rank 0 uses a processor or a disk.
    """

    def __init__(self, store: Store, *, first: bool, timeout: float, used: Callable[[], bytes]) -> None:
        self._store, self._first, self._timeout, self._used = store, first, timeout, used
        self._count = 0
        self._beats = 0
        self._beaten = 0.0

    def agreed(self, work: Callable[[], T], *, long: bool = False) -> T:
        """What `work` gives on rank 0, where alone it is done; what it raises there, on all ranks.

        Args:
            long: it may take longer than the time-out, and say nothing: that a processor or a disk is used is a sign
                as good as a call of `beat`.

        Raises:
            SilentRankError: rank 0 gives no sign within the time-out.
        """
        self._count += 1
        key = f"agreed/{self._count}"
        if self._first:
            return self._told(key, work)
        said, made = pickle.loads(self._awaited(key, long=long))
        if said == "error":
            raise made
        result: T = made
        return result

    def beat(self) -> None:
        """Tell the others, who wait, that this rank is at work; at most twice a second."""
        if self._first and time.monotonic() - self._beaten > 0.5:
            self._beats, self._beaten = self._beats + 1, time.monotonic()
            self._store.set("beat", str(self._beats))

    def _told(self, key: str, work: Callable[[], T]) -> T:
        try:
            made = work()
        except BaseException as error:
            self._say(key, _picklable_error(error))
            raise
        self._say(key, pickle.dumps(("made", made)))
        return made

    def _say(self, key: str, said: bytes) -> None:
        starts = range(0, len(said), _AT_ONCE)
        for start in starts:
            part = said[start : start + _AT_ONCE]
            self._store.set(f"{key}/{start}", part)  # type: ignore[arg-type]  # of bytes, too
        self._store.set(key, str(len(said)))  # last: now it is there

    def _awaited(self, key: str, *, long: bool) -> bytes:
        """What rank 0 sets, as long as it is seen to be at work."""
        signs, since = (b"", b""), time.monotonic()
        while True:
            try:
                self._store.wait([key], _LOOK_AGAIN)
                starts = range(0, int(self._store.get(key)), _AT_ONCE)
                return b"".join(self._store.get(f"{key}/{start}") for start in starts)
            except dist.DistStoreError:  # not yet
                pass
            beats = self._store.get("beat") if self._store.check(["beat"]) else b""
            now = beats, self._used() if long else b""
            if now != signs:
                signs, since = now, time.monotonic()
            if time.monotonic() - since > self._timeout:
                raise SilentRankError(
                    f"rank 0 must be at work within the time-out of {self._timeout:g} s ({option('timeout')}), "
                    "got no sign of it: it hangs"
                )


def _picklable_error(error: BaseException) -> bytes:
    try:
        said = pickle.dumps(("error", error))
        pickle.loads(said)  # not every one that can be pickled can be read again
    except Exception:  # noqa: BLE001  whatever an error holds
        return pickle.dumps(("error", LostRankError(f"rank 0 failed: {type(error).__name__}: {error}")))
    return said
