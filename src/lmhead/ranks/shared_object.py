"""An object that rank 0 made, on all ranks: its arrays are one file on each host, which the host's ranks map.

The file has a name until they have. Meanwhile whoever wrote it holds its lock, which the kernel lets go with the
process: one that was killed is found so, and its file is removed, by the launcher or by the next ranks that share.
"""

import contextlib
import fcntl
import mmap
import os
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import torch
import torch.distributed as dist

from lmhead.errors import InputError

if TYPE_CHECKING:
    from lmhead.ranks.process_ranks import ProcessRanks

T = TypeVar("T")

_NAME: Final = "lmhead-ranks-"  # of a file, its beginning
_LARGE: Final = 2**16  # bytes; smaller arrays are pickled with the rest
_AT_ONCE: Final = 2**26  # bytes of a broadcast
_ALIGNED: Final = 64  # bytes


def share(ranks: "ProcessRanks", work: Callable[[], T]) -> T:
    """What `work` gives on rank 0, on all ranks; what it raises there, on all. Rank 0 keeps its own.

    The object must be picklable. Large arrays in it are read-only on the other ranks.
    """
    made: list[T] = []
    buffers: list[memoryview] = []

    def packed() -> list[int]:
        made.append(work())
        pickled = pickle.dumps(made[0], protocol=5, buffer_callback=lambda buffer: _small(buffer, buffers))
        buffers.insert(0, memoryview(pickled))  # of many conversations that is most of it
        return [buffer.nbytes for buffer in buffers]

    sizes = ranks.agreed(packed, long=True)
    pickled, *parts = _on_this_host(ranks, buffers, sizes)
    return made[0] if ranks.first else pickle.loads(pickled, buffers=parts)


def _small(buffer: pickle.PickleBuffer, kept: list[memoryview]) -> bool:
    """Whether a buffer stays in the pickle; else it is kept beside it."""
    raw = buffer.raw()
    if raw.nbytes >= _LARGE:
        kept.append(raw)
        return False
    return True


def _on_this_host(ranks: "ProcessRanks", buffers: Sequence[memoryview], sizes: Sequence[int]) -> list[memoryview]:
    """The buffers, mapped from a file that one rank of this host wrote."""
    written = None
    if ranks.leads_host:
        written = _written(ranks, buffers, sizes)
    else:
        for _ in _parts(sizes):
            _meet(ranks)
    own = None if written is None else written[1]
    path = next(path for host, path in ranks.everyone((ranks.host, own)) if host == ranks.host and path is not None)
    with path.open("rb") as stream:
        mapped = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    ranks.everyone(None)  # all have it open: its name is not needed any more
    if written is not None:
        path.unlink()
        os.close(written[0])
    starts = accumulate(map(_padded, sizes), initial=0)
    return [mapped[start : start + size] for (start, _), size in zip(pairwise(starts), sizes, strict=True)]


def _parts(sizes: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Of all buffers in order: (the buffer, where a part of it begins, bytes)."""
    for number, size in enumerate(sizes):
        for start in range(0, size, _AT_ONCE):
            yield number, start, min(_AT_ONCE, size - start)


def _meet(ranks: "ProcessRanks") -> None:
    """All come to each part, so that none waits longer than one takes, however many there are."""
    ranks.summed([0.0])


def _written(ranks: "ProcessRanks", buffers: Sequence[memoryview], sizes: Sequence[int]) -> tuple[int, Path]:
    """A file of this host with all of them: its descriptor, which holds its lock, and its name.

    Raises:
        InputError: on this rank alone, the disk refuses.
    """
    try:
        handle, path = _locked()
    except OSError as error:
        raise _refused(sizes, error) from error
    try:
        with os.fdopen(handle, "wb", closefd=False) as stream:
            for number, start, count in _parts(sizes):
                part = buffers[number][start : start + count] if ranks.first else None
                stream.write(part if ranks.leaders is None and part is not None else _broadcast(ranks, part, count))
                if start + count == sizes[number]:
                    stream.write(bytes(_padded(start + count) - start - count))
                _meet(ranks)
    except BaseException as error:
        path.unlink(missing_ok=True)
        os.close(handle)
        if isinstance(error, OSError):
            raise _refused(sizes, error) from error
        raise
    return handle, path


def _locked() -> tuple[int, Path]:
    """A new file of TMPDIR, and its descriptor. Where a disk knows no locks, none is removed as a dead one's either."""
    sweep()
    while True:
        handle, name = tempfile.mkstemp(prefix=_NAME)
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)  # it was swept before it was locked


def sweep() -> None:
    """Remove the files of TMPDIR that ranks wrote for each other which were killed since."""
    for path in Path(tempfile.gettempdir()).glob(f"{_NAME}*"):
        with contextlib.suppress(OSError):  # it is somebody else's
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(handle)


def _refused(sizes: Sequence[int], error: OSError) -> InputError:
    return InputError(
        f"TMPDIR must have room for the {sum(sizes):,} bytes of data that the ranks of a host share, got "
        f"{tempfile.gettempdir()}: {error.strerror or error}; free some space, or set it to another folder"
    )


def _broadcast(ranks: "ProcessRanks", part: memoryview | None, count: int) -> memoryview:
    """Bytes that rank 0 has, on the ranks that lead a host."""
    tensor = (
        torch.empty(count, dtype=torch.uint8) if part is None else torch.frombuffer(bytearray(part), dtype=torch.uint8)
    )
    dist.broadcast(tensor, src=0, group=ranks.leaders)
    return tensor.numpy().data


def _padded(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED
