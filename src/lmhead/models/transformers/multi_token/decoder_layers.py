"""DecoderLayers: the layers of a transformers decoder, and which one modules of multi-token prediction are like.

Not here: the call of that layer (layer_call.py), the layers that are made like it (new_modules.py).
"""

from dataclasses import dataclass
from typing import Any, Final

from torch import nn

from lmhead.errors import ArgumentError
from lmhead.models.transformers.vocabulary import embedding_of
from lmhead.shown import shown

_LISTS: Final = ("layers", "h", "blocks", "layer")  # what a decoder calls the list of its layers
_ATTENTION: Final = ("full_attention", "sliding_attention", "chunked_attention")
NO_LAYER: Final = "modules of multi-token prediction are layers like the model's last"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderLayers:
    """A decoder's layers, in order, and the one whose call the modules repeat."""

    decoder: nn.Module  # that holds the list
    config: Any  # of the text's decoder
    layers: tuple[nn.Module, ...]
    like: int  # the index of the layer that a module is like

    @property
    def last(self) -> nn.Module:
        """The last layer: what it gives is the decoder's states before the final norm."""
        return self.layers[-1]

    @property
    def source(self) -> nn.Module:
        """The layer that a module is like."""
        return self.layers[self.like]


def decoder_layers(model: Any) -> DecoderLayers:
    """The layers of a causal language model [transformers]; nothing is run.

    Raises:
        ArgumentError: a module cannot be a layer of its kind, and why.
    """
    config = model.config.get_text_config(decoder=True)
    kind = shown(str(config.model_type))
    if getattr(model, "_is_stateful", False):
        raise _refusal(kind, "layers with a recurrent state, which cannot be taken back where a draft is rejected")
    if getattr(config, "num_kv_shared_layers", None):
        raise _refusal(kind, "last layers that read the keys and values of earlier ones")
    decoder = _holder_of(embedding_of(model), model)
    count = getattr(config, "num_hidden_layers", None)
    named = [getattr(decoder, name, None) for name in _LISTS]
    lists = [each for each in named if isinstance(each, nn.ModuleList) and len(each) > 0]
    if len(lists) != 1 or (isinstance(count, int) and len(lists[0]) != count):
        raise _refusal(kind, "no list of layers that is one for each of its num_hidden_layers")
    layers = tuple(lists[0])
    if hasattr(layers[-1], "encoder_attn"):
        raise _refusal(kind, "a layer that reads an encoder too, of a model with one")
    return DecoderLayers(decoder=decoder, config=config, layers=layers, like=_like(kind, config, len(layers)))


def _holder_of(embedding: nn.Module, model: Any) -> nn.Module:
    """The module whose direct child the embedding is: the decoder. PEFT's wrapper is in the embedding's place."""
    for module in model.modules():
        if any(child is embedding for child in module.children()):
            return module  # type: ignore[no-any-return]
    return model  # type: ignore[no-any-return]


def _like(kind: str, config: Any, count: int) -> int:
    """The last layer's index, or of the last that attends as the config says the modules do."""
    types = getattr(config, "layer_types", None)
    if not types:
        return count - 1
    wanted = (getattr(config, "mtp_layer_types", None) or types)[-1]
    found = [index for index, each in enumerate(types[:count]) if each == wanted]
    if wanted not in _ATTENTION or not found:
        raise _refusal(kind, f"layers of type {shown(str(wanted))} where an attention layer is needed")
    return found[-1]


def _refusal(kind: str, got: str) -> ArgumentError:
    return ArgumentError(f"the model ({kind}) must have a last layer that a module can be like, got {got}: {NO_LAYER}")
