"""Labels that are shifted already: nearly all of them are the token after their own, which whoever shifts them misses.

One rule, by which a row of ids is refused and a batch is found to be wrong.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

ALIGN: Final = "give labels aligned with input_ids (labels[t] == input_ids[t])"  # the remedy
_NEARLY_ALL: Final = 0.95


def already_shifted(
    ids: npt.NDArray[np.int64],  # [..., T]
    labels: npt.NDArray[np.int64],  # [..., T]
    trained: npt.NDArray[np.bool_],  # [..., T]: there is a label
) -> npt.NDArray[np.bool_] | None:
    """bool [..., T - 1]: the labels that are the next token's; None where labels are not shifted, by their most.

    Example:
        >>> ids, labels = np.array([5, 6, 7, 8]), np.array([6, 7, 8, -100])
        >>> already_shifted(ids, labels, labels != -100).tolist()
        [True, True, True]
        >>> already_shifted(ids, ids, ids == ids) is None
        True
    """
    inner = trained[..., :-1]
    of_next: npt.NDArray[np.bool_] = inner & (labels[..., :-1] == ids[..., 1:])
    own = inner & (labels[..., :-1] == ids[..., :-1])
    most = _NEARLY_ALL * inner.sum()
    return of_next if of_next.sum() >= most > own.sum() else None
