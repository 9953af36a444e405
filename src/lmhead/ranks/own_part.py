"""What a rank has of a model that may be sharded. Loads nothing: where no DTensor was made, none is known."""

import sys
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor
    from typing_extensions import TypeIs


def is_sharded(tensor: Tensor) -> "TypeIs[DTensor]":
    """Whether it is a DTensor, whose parts are on several ranks."""
    known = sys.modules.get("torch.distributed.tensor")
    return known is not None and isinstance(tensor, known.DTensor)


def reshard(model: nn.Module) -> None:
    """Let the whole weights go that FSDP2 keeps of a root after a forward without a backward, an evaluation say.

    As long as they are there they are the model's parameters, and stay as they are whatever is put into the parts.
    """
    known = sys.modules.get("torch.distributed.fsdp")
    if known is None:
        return
    for module in model.modules():
        if isinstance(module, known.FSDPModule):
            module.reshard()


def own_part(tensor: Tensor) -> Tensor:
    """The part of a DTensor that this rank has, the same memory; another tensor as it is."""
    return tensor.to_local() if is_sharded(tensor) else tensor
