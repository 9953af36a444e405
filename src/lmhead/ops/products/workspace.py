"""Buffers that survive from one call to the next, so that a training step does not pay for fresh pages.

On a CPU a new buffer of 100 MiB costs its page faults every time (a tenth of a bf16 step, `benchmarks/LOG.md`); the
C allocator gives it back at once. One buffer per thread, name, dtype and device is kept here instead, never larger
than the largest one asked for. Other devices have a caching allocator of their own and get a plain tensor.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_LINE_BYTES = 64  # a cache line


class _Kept(threading.local):
    def __init__(self) -> None:
        self.buffers: dict[tuple[str, torch.dtype], Tensor] = {}


_KEPT = _Kept()


@contextmanager
def buffer(name: str, shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Iterator[Tensor]:
    """An uninitialised [rows, columns] tensor for the length of a `with`; its rows are an odd number of 64 bytes apart.

    Aligned rows that are not a multiple of 4 KiB apart make the bf16 product of a 512-row chunk 1.6 times as fast
    at V = 50257 (`benchmarks/LOG.md`, 2026-11-23).
    """
    rows, columns = shape
    stride = padded_columns(columns, dtype)
    size = rows * stride
    if device.type != "cpu":
        yield torch.empty(size, dtype=dtype, device=device).view(rows, stride)[:, :columns]
        return
    kept = _KEPT.buffers.pop((name, dtype), None)  # taken out: a nested call gets one of its own
    if kept is None or kept.numel() < size:
        kept = None  # given back first: both at once would be more than anybody's budget
        with torch.inference_mode(False):  # a buffer born in inference mode could not be written to by a training step
            kept = torch.empty(size, dtype=dtype)
    padded = kept[:size].view(rows, stride)
    padded[:, columns:] = 0  # oneDNN's bf16 product of such rows reads the padding too: times 0, but 0 * NaN is NaN
    try:
        yield padded[:, :columns]
    finally:
        _KEPT.buffers[name, dtype] = kept


def padded_columns(columns: int, dtype: torch.dtype) -> int:
    """Columns of a row padded to an odd number of cache lines."""
    per_line = _LINE_BYTES // dtype.itemsize
    lines = math.ceil(columns / per_line)
    return (lines if lines % 2 else lines + 1) * per_line


def release_workspace() -> None:
    """Give back the buffers that this thread keeps for the next call (CPU only).

    At most the memory budget, and a 16-bit head's float32 accumulator [V, D] where there was one.
    """
    _KEPT.buffers.clear()
