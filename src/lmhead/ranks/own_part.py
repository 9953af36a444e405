"""What a rank has of a model that may be sharded. Loads nothing of torch.distributed."""

import sys

from torch import Tensor, nn

from lmhead.ops.tensor_values import is_dtensor


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
    return tensor.to_local() if is_dtensor(tensor) else tensor
