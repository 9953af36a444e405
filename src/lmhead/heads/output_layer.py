"""What an output layer multiplies hidden states with: of an nn.Linear, and of what PEFT makes of one.

PEFT's layers are known by their exact types: a subclass (a quantised base layer, another variant of LoRA) may compute
something else, and a loss that took its tensors would be silently wrong. PEFT is not imported here unless it is there
already, as it must be where there is a layer of its.
"""

import sys
from typing import Any

from torch import Tensor, nn

from lmhead.errors import ArgumentError, ArgumentTypeError
from lmhead.heads.scoring_head import HeadTensors, ScoringHead
from lmhead.ops.adapter import LowRankAdapter

_LOGITS = "take the loss of its logits, lmhead.causal_lm_loss(layer(hidden), labels)"


def tensors_of(layer: nn.Module) -> HeadTensors:
    """The tensors with which `layer(hidden)` is made now.

    Raises:
        ArgumentError: a PEFT layer in a state that no adapter of the op describes.
        ArgumentTypeError: a layer of another kind.
    """
    if _is_linear(layer):
        assert isinstance(layer, nn.Linear)
        return HeadTensors(weight=layer.weight, bias=layer.bias)
    if "peft" in sys.modules:
        from peft.tuners.lora.layer import Linear
        from peft.utils.other import ModulesToSaveWrapper

        if type(layer) is Linear:
            return _of_lora(layer)
        if type(layer) is ModulesToSaveWrapper:
            return _of_saved(layer)
    raise ArgumentTypeError(
        f"layer must be an nn.Linear or PEFT's LoRA around one, got {_kind(layer)}: {_remedy(layer)}"
    )


_REWRITES_WEIGHT = ("WeightNorm", "SpectralNorm")  # torch.nn.utils' old ones: the weight is made in a call's hook


def _is_linear(layer: object) -> bool:
    """An nn.Linear, or a subclass that multiplies as one does, with a weight that is stored as it is."""
    if not isinstance(layer, nn.Linear) or type(layer).forward is not nn.Linear.forward:
        return False
    if "forward" in vars(layer) and not hasattr(layer, "_hf_hook"):  # accelerate's only moves tensors between devices
        return False
    if any(type(hook).__name__ in _REWRITES_WEIGHT for hook in layer._forward_pre_hooks.values()):
        return False
    kind = type(layer.weight)
    return kind in (nn.Parameter, Tensor) or kind.__name__ in ("DTensor", "FakeTensor")  # the op refuses a DTensor


def _kind(layer: object) -> str:
    kind = type(layer)
    weight = getattr(layer, "weight", None)
    of = f" of {type(weight).__name__}" if kind is nn.Linear and type(weight) is not nn.Parameter else ""
    return f"{kind.__module__}.{kind.__qualname__}{of}"


def _remedy(layer: object) -> str:
    if isinstance(layer, ScoringHead):
        return "it has a loss of its own"
    if hasattr(layer, "get_output_embeddings"):
        return "give its output layer, model.get_output_embeddings()"
    return _LOGITS


def _of_saved(wrapper: Any) -> HeadTensors:
    """PEFT's `modules_to_save`: the copy that is trained, or the original where that is not active."""
    _refuse_mixed_batch(wrapper)
    active = wrapper.active_adapters
    if wrapper.disable_adapters or not active or active[0] not in wrapper.modules_to_save:
        return tensors_of(wrapper.original_module)
    return tensors_of(wrapper.modules_to_save[active[0]])


def _of_lora(layer: Any) -> HeadTensors:
    """What lora.Linear.forward does, state by state: disabled, merged, or the active adapters one after the other."""
    _refuse_mixed_batch(layer)
    if not _is_linear(layer.base_layer):
        kind = _kind(layer.base_layer)
        raise ArgumentTypeError(f"layer.base_layer must be an nn.Linear, got {kind}: {_LOGITS}")
    if layer.disable_adapters and layer.merged:
        layer.unmerge()  # as its own forward does: the weight would still hold what is disabled
    weight, bias = layer.base_layer.weight, layer.base_layer.bias
    if layer.disable_adapters or layer.merged:
        return HeadTensors(weight=weight, bias=bias)
    active = [name for name in layer.active_adapters if name in layer.lora_A]
    for name in active:
        added = layer.lora_B[name].bias  # PEFT's lora_bias
        if added is not None:
            added = added * layer.scaling[name]
            bias = added if bias is None else bias + added
    return HeadTensors(weight=weight, bias=bias, adapters=tuple(_adapter(layer, name) for name in active))


def _adapter(layer: Any, name: str) -> LowRankAdapter:
    variant, magnitude = layer.lora_variant.get(name), None
    if variant is not None:
        kind = type(variant).__name__
        if kind != "DoraLinearVariant":
            raise ArgumentError(f"layer must have adapters of LoRA or DoRA, got {kind} for {name!r}: {_LOGITS}")
        magnitude = layer.lora_magnitude_vector[name].weight
    dropout = layer.lora_dropout[name]
    if not isinstance(dropout, nn.Dropout | nn.Identity):
        raise ArgumentError(f"layer.lora_dropout must be an nn.Dropout, got {_kind(dropout)} for {name!r}: {_LOGITS}")
    share = dropout.p if isinstance(dropout, nn.Dropout) and dropout.training else 0.0
    if share and magnitude is not None:
        if layer.training:
            raise ArgumentError(
                f"layer must have no active dropout with DoRA, got lora_dropout={share} for {name!r}: train it with "
                f"lora_dropout=0, or {_LOGITS}"
            )
        share = 0.0  # DoRA asks the layer's mode, not the dropout's
    return LowRankAdapter(
        down=layer.lora_A[name].weight,
        up=layer.lora_B[name].weight,
        scale=layer.scaling[name],
        magnitude=magnitude,
        dropout=share,
    )


def _refuse_mixed_batch(layer: nn.Module) -> None:
    """PEFT hands `adapter_names`, an adapter for each row of the batch, to its layers through hooks."""
    if layer._forward_pre_hooks_with_kwargs:
        raise ArgumentError(
            "layer must have no hook that changes its arguments, got one, as PEFT sets for a mixed batch "
            "(adapter_names): take the loss of each adapter's rows by themselves, after set_adapter"
        )
