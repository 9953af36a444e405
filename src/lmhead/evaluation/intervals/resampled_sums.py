"""Bootstrap resamples of documents: how often each is drawn, times what is summed of it, block by block."""

from typing import Final

import numpy as np
import numpy.typing as npt

_WEIGHTS: Final = 1 << 15  # of a block, unless one resample has more: they stay in a core's cache


def resampled_sums(columns: npt.NDArray[np.float64], *, resamples: int, seed: int) -> npt.NDArray[np.float64]:
    """[resamples, K] sums of `columns` [n, K] over n documents drawn with replacement.

    The same as drawing multinomial weights [resamples, n] and multiplying; no more than a block of these is held.
    """
    n, K = columns.shape
    generator = np.random.default_rng(seed)
    sums = np.empty((resamples, K))
    block = max(1, _WEIGHTS // n)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = generator.integers(0, n, size=(rows, n), dtype=np.uint32).astype(np.intp)
        drawn += np.arange(rows)[:, None] * n
        weights = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        sums[start : start + rows] = weights.astype(np.float64) @ columns
    return sums
