"""Documents by an attention mask of which token sees which, [R, 1, T, T] or [R, T, T], boolean or added to the scores.

A token that does not see the one before it begins a document; one that does not see itself is padding.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lmhead.errors import require
from lmhead.labels.collated.batch_rows import as_array


def documents_of_square(name: str, value: Any, present: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64] | None:
    """Documents [R, T], -1 at padding; None where each row is one without padding.

    Raises:
        ArgumentError: it does not fit input_ids.
    """
    R, T = present.shape
    square = value if isinstance(value, Tensor) else as_array(value)
    fits = square.ndim in (3, 4) and square.shape[0] in (1, R) and tuple(square.shape[-2:]) == (T, T)
    require(fits, name, f"be [{R}, {T}] or [{R}, 1, {T}, {T}]", list(square.shape))
    heads = square[:, 0] if square.ndim == 4 else square  # the same of every head
    itself, before = (as_array(heads.diagonal(offset, -2, -1)) for offset in (0, -1))
    if itself.dtype.kind == "f" and itself.max(initial=-np.inf) <= 0:  # it is added to the scores
        itself, before = itself > -1, before > -1
    sees_itself = np.broadcast_to(itself != 0, (R, T))
    sees_before = np.broadcast_to(before != 0, (R, max(T - 1, 0)))
    begins = np.zeros_like(present)
    begins[:, 1:] = ~sees_before
    shown = present & sees_itself
    if not (begins & shown).any() and (shown == present).all():
        return None
    return np.where(shown, np.cumsum(begins, axis=1), -1).astype(np.int64)
