"""Training loss by source: the nll of a step's own losses, summed by the source of each token's document.

In float64 on the host, whatever the device, in the order of the tokens: the same sums in a resumed run. What weighs
tokens, smooths labels or is added to the loss is not in it: it is the nll of scored tokens, as in an evaluation.
"""

from typing import final

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lmhead.labels.packing.packed_batch import PackedBatch

BySource = npt.NDArray[np.float64]  # [2, S]: nats, tokens


@final
class LossBySource:
    """The sums of one window.

    Args:
        source: of each training document, its number [N].
        count: S, how many sources there are.
    """

    def __init__(self, source: npt.NDArray[np.intp], count: int) -> None:
        self._source = source
        self.sums: BySource = np.zeros((2, count))

    def add(self, batch: PackedBatch, nll: Tensor) -> None:
        """A micro-batch on the CPU, and the nll of its positions [R, T], on any device."""
        scored = batch.targets.scored[:, : nll.shape[1]]
        if not bool(scored.any()):
            return
        number = self._source[batch.source[:, : nll.shape[1]][scored].numpy()]
        values = nll.detach().cpu().double()[scored].numpy()
        count = self.sums.shape[1]
        self.sums += np.stack([np.bincount(number, values, count), np.bincount(number, minlength=count)])


def means(sums: BySource, names: tuple[str, ...]) -> dict[str, tuple[float, int]]:
    """Nats a token, and tokens, of each source that has some."""
    return {
        name: (float(f"{nll / tokens:.12g}"), round(tokens))
        for name, nll, tokens in zip(names, *sums.tolist(), strict=True)
        if tokens
    }
