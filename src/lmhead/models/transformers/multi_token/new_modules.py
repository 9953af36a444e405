"""New layers and norms of a transformers model's own classes, drawn as it draws its own.

Where the config tells what modules of multi-token prediction are (`get_mtp_config`: GLM-4-MoE, DeepSeek-V3, Mellum),
a layer is made as transformers makes it to draft with; else it is what the last layer is.
"""

import copy
from typing import Any, Final

import torch
from torch import nn

from lmhead.errors import ArgumentError
from lmhead.models.transformers.multi_token.decoder_layers import NO_LAYER, DecoderLayers
from lmhead.models.transformers.patching.probe import RUN_ERRORS
from lmhead.models.transformers.read_causal_lm import first_line
from lmhead.shown import shown

_INDEX: Final = ("layer_idx", "layer_id", "layer_number")  # a layer's place, in its cache say
_OF_MODULES: Final = (("layer_types", "mtp_layer_types"), ("mlp_layer_types", "mtp_mlp_layer_types"))


def declares_modules(config: Any) -> bool:
    """Whether the text decoder's config has a field for the count of its modules, by which transformers drafts."""
    return getattr(config, "num_mtp_layers", None) is not None or "num_mtp_layers" in (
        getattr(type(config), "attribute_map", None) or {}
    )


def with_modules(config: Any, depth: int) -> Any:
    """A copy of a config that declares `depth` modules, each like the last layer where it does not say otherwise."""
    made = copy.deepcopy(config)
    for of_layers, of_modules in _OF_MODULES:
        own = getattr(config, of_modules, None) or getattr(config, of_layers, None)
        if own:
            setattr(made, of_modules, [own[-1]] * depth)
    made.num_mtp_layers = depth
    return made


def new_layer(layers: DecoderLayers, index: int) -> nn.Module:
    """A layer of the decoder's own class whose place is `index`, its weights as torch makes them.

    Raises:
        ArgumentError: the class is not made of a config and a place.
    """
    kind, config, place = type(layers.source), layers.config, layers.like
    if declares_modules(config):
        config, place = with_modules(config, index + 1).get_mtp_config(), index
    try:
        made: nn.Module = kind(config, place)
    except RUN_ERRORS as error:
        raise ArgumentError(
            f"the model ({shown(str(config.model_type))}) must have layers that a config and an index make, got "
            f"{type(error).__name__} from {kind.__name__}: {first_line(error)}; {NO_LAYER}"
        ) from error
    for module in made.modules():
        for name in _INDEX:
            if vars(module).get(name) == place:
                setattr(module, name, index)
    return made.float()


def new_norm(layers: DecoderLayers, width: int) -> nn.Module:
    """A copy of a norm of the decoder's states, for `draw` to make new.

    Raises:
        ArgumentError: its layers have none of that width.
    """
    own = {name: module for name, module in layers.source.named_modules() if "norm" in name or "ln" in name}
    weights = {name: module._parameters.get("weight") for name, module in own.items()}
    of_width = [name for name, weight in weights.items() if weight is not None and tuple(weight.shape) == (width,)]
    without = [name for name, module in own.items() if "." not in name and not list(module.parameters())]  # OLMo's
    for name in (*of_width, *without):
        made: nn.Module = copy.deepcopy(own[name]).requires_grad_().float()
        return made
    raise ArgumentError(
        f"the model ({shown(str(layers.config.model_type))}) must have norms of its {width} features in its layers, "
        f"got none: {NO_LAYER}, behind norms like its own"
    )


@torch.no_grad()
def draw(model: Any, modules: nn.Module) -> None:
    """Initialise modules as the model initialises its own, from torch's global generator."""
    for module in modules.modules():
        model._init_weights(module)
