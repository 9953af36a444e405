"""Models wrapped by DDP and FSDP2, and their gradients as the unwrapped model has them."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel


def whole(found: tuple[Any, dict[str, Tensor]]) -> tuple[Any, dict[str, Tensor]]:
    """Gradients as the unwrapped model has them."""
    gradients = {
        name.removeprefix("module."): each.full_tensor() if hasattr(each, "full_tensor") else each
        for name, each in found[1].items()
    }
    return found[0], gradients


def sharded(model: nn.Module, *, root: dict[str, Any] | None = None, head: dict[str, Any] | None = None) -> nn.Module:
    for layer in model.model.layers:
        fully_shard(layer)
    if head is not None:
        fully_shard(model.lm_head, **head)
    return fully_shard(model, **(root or {}))


WRAPPED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "DDP": DistributedDataParallel,
    "FSDP2": sharded,
    "FSDP2, the root resharded": lambda model: sharded(model, root={"reshard_after_forward": True}),
    "FSDP2, the head kept": lambda model: sharded(
        model, head=None if model.config.tie_word_embeddings else {"reshard_after_forward": False}
    ),
}
