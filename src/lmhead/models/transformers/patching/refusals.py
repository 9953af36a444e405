"""Models that are refused before anything is proven: no output layer, weights that are not there, shared replicas."""

import sys
from typing import Any

from torch import nn

from lmhead.errors import ArgumentError, ArgumentTypeError, require
from lmhead.models.transformers.patching.head_override import HeadOverride
from lmhead.models.transformers.patching.state import state_of
from lmhead.ops.tensor_values import has_values, is_dtensor


def require_patchable(model: nn.Module) -> None:
    """Refuse a model whose loss could not be taken out of its output layer.

    Raises:
        ArgumentError: it is patched, its weights are not there, its head is a list, or it has none.
        ArgumentTypeError: it is no model of transformers.
    """
    name = type(model).__name__
    if state_of(model) is not None:
        raise ArgumentError("model must not be patched twice, got one that is: lmhead.unpatch(model) takes it off")
    find: Any = getattr(model, "get_output_embeddings", None)
    if find is None:
        raise ArgumentTypeError(
            f"model must be a causal LM of transformers, with get_output_embeddings(), got {name}: for a module of "
            "your own take lmhead.WrappedHead(output layer).loss(hidden, labels=...)"
        )
    layer = find()
    if layer is None:
        raise ArgumentError(
            f"model must have an output layer, got None from {name}.get_output_embeddings(): it has no head"
        )
    if isinstance(layer, nn.ModuleList | list | tuple):
        raise ArgumentError(
            f"model must have one output layer, got {len(layer)} of them in {name}: its loss is of several codebooks; "
            "take lmhead.WrappedHead(layer).loss for each"
        )
    others = [type(each).__name__ for each in model.modules() if state_of(each) is not None]
    if others or isinstance(vars(layer).get("forward"), HeadOverride):
        other = others[0] if others else "a model that shares its output layer"
        raise ArgumentError(
            f"model must have an output layer and modules that no other patched model has, got {other} within {name}: "
            "patch the one that you call, and lmhead.unpatch the other first"
        )
    if any(parameter.is_meta for parameter in model.parameters()):
        raise ArgumentError(
            f"model must have its weights in memory, got some on the meta device in {name}: load it without offloading "
            "(device_map to one device), or patch it after it is materialised"
        )
    _require_frequencies(model)
    if any(map(is_dtensor, layer.parameters())) and not _is_fully_sharded(model):
        raise ArgumentError(
            f"model must have the whole weight of its output layer, got one that tensor parallelism has split in "
            f"{name}: train it as it is, or by torch.distributed.fsdp.fully_shard(model)"
        )
    if any(parameter.is_inference() for parameter in layer.parameters()):
        raise ArgumentError(
            f"model must have weights that can be trained, got some of torch.inference_mode in {name}: make or load "
            "it outside of inference_mode"
        )


def _require_frequencies(model: nn.Module) -> None:
    """Refuse rotary frequencies that no family has: what `to_empty` finds in memory, which no checkpoint overwrites."""
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name.endswith("inv_freq") and buffer.numel() and has_values(buffer):
                low, high = (float(end) for end in buffer.detach().aminmax())
                require(
                    low >= 0 and 1e-6 < high < 1e6,
                    "model",
                    "have the buffers that no checkpoint has",
                    f"{name} from {low:.1e} to {high:.1e} in {type(module).__name__}",
                    "after model.to_empty(device=...) call model.init_weights(), and then load its weights",
                )


def model_inside(model: nn.Module) -> nn.Module:
    """The model of transformers within PEFT's, torch's or accelerate's wrappers.

    Raises:
        ArgumentError: a wrapper whose replicas would share what a patched model remembers.
        ArgumentTypeError: no module.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentTypeError(f"model must be a causal LM of transformers, got {type(model).__name__}")
    if isinstance(model, nn.DataParallel):
        raise ArgumentError(
            "model must not be an nn.DataParallel, whose replicas share what a patched model remembers, got one: use "
            "DistributedDataParallel, a process for each GPU"
        )
    if isinstance(model, nn.parallel.DistributedDataParallel):
        return model_inside(model.module)
    fsdp = sys.modules.get("torch.distributed.fsdp")
    if fsdp is not None and isinstance(model, fsdp.FullyShardedDataParallel):
        raise ArgumentError(
            "model must not be wrapped by FullyShardedDataParallel, which hides the output layer's weight in a flat "
            "one, got it: use torch.distributed.fsdp.fully_shard(model)"
        )
    if isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):  # torch.compile's
        return model_inside(inner)
    if hasattr(model, "peft_config") and hasattr(model, "get_base_model"):
        inside: nn.Module = model.get_base_model()  # type: ignore[operator]
        return inside
    return model


def _is_fully_sharded(model: nn.Module) -> bool:
    """Whether FSDP2 has sharded it, or a part: it gathers what a forward needs."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    return fsdp is not None and any(isinstance(module, fsdp.FSDPModule) for module in model.modules())
