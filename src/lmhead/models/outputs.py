"""Outputs of anybody's model: the one tensor that looks at ids, out of whatever its forward returns."""

from typing import Any

from torch import Tensor

from lmhead.errors import ArgumentTypeError, require


def outputs_of(made: Any, ids: Tensor) -> Tensor:
    """Logits or hidden states [R, T, ...]: `made` itself, first in a tuple, or as `.logits`.

    Args:
        made: what a model gave for `ids` [R, T].

    Raises:
        ArgumentTypeError: there is no tensor in it.
        ArgumentError: the tensor has other leading dimensions than the ids.
    """
    found = getattr(made, "logits", made)
    if isinstance(found, tuple):
        found = found[0]
    if not isinstance(found, Tensor):
        raise ArgumentTypeError(
            f"model must give a Tensor, a tuple that begins with one, or .logits, got {type(found).__name__}"
        )
    R, T = ids.shape
    require(found.shape[:2] == ids.shape, "model", f"give outputs [{R}, {T}, ...]", list(found.shape))
    return found
