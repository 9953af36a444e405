"""This rank's part of a tensor that may be sharded. Loads nothing: where no DTensor was made, none is known."""

import sys
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor
    from typing_extensions import TypeIs


def is_sharded(tensor: Tensor) -> "TypeIs[DTensor]":
    """Whether it is a DTensor, whose parts are on several ranks."""
    known = sys.modules.get("torch.distributed.tensor")
    return known is not None and isinstance(tensor, known.DTensor)


def own_part(tensor: Tensor) -> Tensor:
    """The part of a DTensor that this rank has, the same memory; another tensor as it is."""
    return tensor.to_local() if is_sharded(tensor) else tensor
