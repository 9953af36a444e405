"""xz as a yardstick: what `xz -9e` makes of a text, beside bits per byte; it needs no model."""

import lzma
import time
from collections.abc import Callable
from typing import Final

_PIECE: Final = 2**18  # bytes, between two looks at the clock
_LONGEST: Final = 30.0  # seconds


def xz_bits(text: bytes, *, now: Callable[[], float] = time.perf_counter) -> float | str:
    """Bits per byte of the compressed text, or in some words why there is no figure."""
    began, size = now(), 0
    try:
        packer = lzma.LZMACompressor(preset=9 | lzma.PRESET_EXTREME)
        for start in range(0, len(text), _PIECE):
            size += len(packer.compress(text[start : start + _PIECE]))
            if now() - began > _LONGEST:
                return f"it takes more than {_LONGEST:g} seconds"
        return 8 * (size + len(packer.flush())) / len(text)
    except MemoryError:
        return "it needs more memory than there is"


def xz_seconds(text: bytes, *, now: Callable[[], float] = time.perf_counter) -> float:
    """About how long `xz_bits` will take, from a piece of the text that is packed now."""
    piece = text[:_PIECE]
    began = now()
    xz_bits(piece, now=now)
    return min(_LONGEST, (now() - began) * len(text) / max(1, len(piece)))
