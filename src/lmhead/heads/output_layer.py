"""Output layers, what they multiply hidden states with: of an nn.Linear, and of what PEFT makes of one.

PEFT's layers are known by their exact types: a subclass (a quantised base layer, another variant of LoRA) may compute
something else, and a loss that took its tensors would be silently wrong. PEFT is not imported here unless it is there
already, as it must be where there is a layer of its.
"""

import sys
from typing import Any, TypeGuard

from torch import Tensor, nn

from lmhead.errors import ArgumentError, ArgumentTypeError
from lmhead.heads.fully_sharded import class_beneath
from lmhead.heads.hooks import is_made_anew, own_hooks, refuse_late_hooks, run_early_hooks
from lmhead.heads.scoring_head import ScoringHead
from lmhead.losses.head_tensors import HeadTensors
from lmhead.ops.adapter import LowRankAdapter

_LOGITS = "take the loss of its logits, lmhead.causal_lm_loss(layer(hidden), labels)"


def check_layer(layer: nn.Module, *, called: bool = False) -> None:
    """Refuse a layer whose tensors could not be taken, without running its hooks or making its weight.

    Args:
        called: as in `tensors_of`.

    Raises:
        ArgumentError: a layer in a state that is refused.
        ArgumentTypeError: a layer of another kind.
    """
    if not _is_linear(layer):
        tensors_of(layer, None, called=called)
        return
    refuse_late_hooks(layer, name="layer", remedy=_LOGITS, called=called)
    if not is_made_anew(layer, "weight"):
        _require_plain(layer, layer.weight)


def tensors_of(layer: nn.Module, hidden: Tensor | None, *, called: bool = False) -> HeadTensors:
    """The tensors with which `layer(hidden)` is made now; hooks are run as that call would run them.

    Args:
        called: the layer is called, and has run its hooks itself.

    Raises:
        ArgumentError: a hook that is refused, or a PEFT layer in a state that no adapter of the op describes.
        ArgumentTypeError: a layer of another kind.
    """
    if _is_linear(layer):
        return _of_linear(layer, hidden, name="layer", called=called)
    if "peft" in sys.modules:
        from peft.tuners.lora.layer import Linear
        from peft.utils.other import ModulesToSaveWrapper

        if class_beneath(layer) is Linear:
            return _of_lora(layer, hidden, called=called)
        if class_beneath(layer) is ModulesToSaveWrapper:
            return _of_saved(layer, hidden, called=called)
    own = isinstance(layer, nn.Module) and "forward" in vars(layer)
    raise _refusal(layer, " with a forward of its own" if own else "")


def _is_linear(layer: object) -> TypeGuard[nn.Linear]:
    """An nn.Linear, or a subclass that multiplies as one does."""
    if not isinstance(layer, nn.Linear) or type(layer).forward is not nn.Linear.forward:
        return False
    forward = vars(layer).get("forward")
    if forward is None or getattr(forward, "__func__", None) is nn.Linear.forward:  # accelerate puts it back so
        return True
    # accelerate's only moves tensors between devices, a patched model's own says so of itself
    return hasattr(layer, "_hf_hook") or getattr(forward, "keeps_product", False) is True


def _of_linear(layer: nn.Linear, hidden: Tensor | None, *, name: str, called: bool = False) -> HeadTensors:
    refuse_late_hooks(layer, name=name, remedy=_LOGITS, called=called)
    if not called:
        run_early_hooks(layer, None if hidden is None else (hidden,), name=name, remedy=_LOGITS)
    weight, bias = layer.weight, layer.bias  # read once: a parametrization makes them, and may step as it does
    _require_plain(layer, weight)
    return HeadTensors(weight=weight, bias=bias)


def _require_plain(layer: nn.Linear, weight: object) -> None:
    """Refuse a weight that is stored as something else."""
    kind = type(weight)
    if kind not in (nn.Parameter, Tensor) and kind.__name__ not in ("DTensor", "FakeTensor"):  # the op refuses DTensors
        raise _refusal(layer, f" of {kind.__name__}")


def _refusal(layer: nn.Module, of: str = "") -> ArgumentTypeError:
    return ArgumentTypeError(
        f"layer must be an nn.Linear or PEFT's LoRA around one, got {_kind(layer)}{of}: {_remedy(layer)}"
    )


def _kind(layer: object) -> str:
    kind = class_beneath(layer)
    return f"{kind.__module__}.{kind.__qualname__}"


def _remedy(layer: object) -> str:
    if isinstance(layer, ScoringHead):
        return "it has a loss of its own"
    if hasattr(layer, "get_output_embeddings"):
        return "give its output layer, model.get_output_embeddings()"
    return _LOGITS


def _of_saved(wrapper: Any, hidden: Tensor | None, *, called: bool) -> HeadTensors:
    """PEFT's `modules_to_save`: the copy that is trained, or the original where that is not active."""
    _refuse_mixed_batch(wrapper)
    _refuse_hooks(wrapper, "layer", called=called)
    active = wrapper.active_adapters
    if wrapper.disable_adapters or not active or active[0] not in wrapper.modules_to_save:
        return tensors_of(wrapper.original_module, hidden)
    return tensors_of(wrapper.modules_to_save[active[0]], hidden)


def _of_lora(layer: Any, hidden: Tensor | None, *, called: bool) -> HeadTensors:
    """What lora.Linear.forward does, state by state: disabled, merged, or the active adapters one after the other."""
    _refuse_mixed_batch(layer)
    _refuse_hooks(layer, "layer", called=called)
    if not _is_linear(layer.base_layer):
        kind = _kind(layer.base_layer)
        raise ArgumentTypeError(f"layer.base_layer must be an nn.Linear, got {kind}: {_LOGITS}")
    if layer.disable_adapters and layer.merged:
        layer.unmerge()  # as its own forward does: the weight would still hold what is disabled
    base = _of_linear(layer.base_layer, hidden, name="layer.base_layer")
    weight, bias = base.weight, base.bias
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
    _refuse_hooks(dropout, f"layer.lora_dropout[{name!r}]")
    down, up = (
        _of_linear(getattr(layer, part)[name], None, name=f"layer.{part}[{name!r}]") for part in ("lora_A", "lora_B")
    )
    share = dropout.p if isinstance(dropout, nn.Dropout) and dropout.training else 0.0
    if share and magnitude is not None:
        if layer.training:
            raise ArgumentError(
                f"layer must have no active dropout with DoRA, got lora_dropout={share} for {name!r}: train it with "
                f"lora_dropout=0, or {_LOGITS}"
            )
        share = 0.0  # DoRA asks the layer's mode, not the dropout's
    return LowRankAdapter(
        down=down.weight,
        up=up.weight,
        scale=layer.scaling[name],
        magnitude=magnitude,
        dropout=share,
    )


def _refuse_hooks(module: nn.Module, name: str, *, called: bool = False) -> None:
    """Of a module that has no weight of its own: nothing that its hooks could make."""
    refuse_late_hooks(module, name=name, remedy=_LOGITS, called=called)
    if not called:
        run_early_hooks(module, None, name=name, remedy=_LOGITS)


def _refuse_mixed_batch(layer: nn.Module) -> None:
    """PEFT hands `adapter_names`, an adapter for each row of the batch, to its layers through hooks."""
    if any(key in layer._forward_pre_hooks_with_kwargs for key in own_hooks(layer._forward_pre_hooks)):
        raise ArgumentError(
            "layer must have no hook that changes its arguments, got one, as PEFT sets for a mixed batch "
            "(adapter_names): take the loss of each adapter's rows by themselves, after set_adapter"
        )
