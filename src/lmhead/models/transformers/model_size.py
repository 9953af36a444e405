"""Sizes of a model of transformers without its weights: built of its config alone, on torch's meta device.

Not here: what training takes in bytes (lmhead.cli.plans.plan), seconds.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lmhead.errors import ArgumentError, InputError
from lmhead.models.transformers.context import context_length
from lmhead.models.transformers.lora import add_lora
from lmhead.models.transformers.lora_options import LoraOptions
from lmhead.models.transformers.multi_token.decoder_layers import decoder_layers
from lmhead.models.transformers.quiet import quiet_transformers
from lmhead.models.transformers.read_causal_lm import config_of, first_line, load_failures
from lmhead.packages import require_package
from lmhead.shown import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSize:
    """Counts of parameters by what becomes of them, and what the model reads and gives."""

    kind: str  # its type, gemma2 say
    vocab_size: int  # V: rows of the head
    width: int  # D: of the hidden states that the head reads
    context: int  # tokens that it can read at most
    parameters: int  # without adapters
    embedding: int  # of these, those that are looked up and not multiplied: where it is not the head too
    linear: int  # of these, those of linear layers but the head, which bitsandbytes holds in 4 or 8 bits
    layer: int  # of one that modules of multi-token prediction are like; 0 where none can be
    trained: int  # all, or the adapters'


def model_size(source: str, lora: LoraOptions | None = None) -> ModelSize:
    """The sizes of the causal language model in a folder, or of a name on the Hub, with the adapters that it would get.

    Raises:
        InputError: a package is not installed, there is no such model, or its config makes none.
        ArgumentError: the model has no layer of a name in the adapters' `targets`.
    """
    require_package("transformers", "a model that is no decoder of this library")
    from transformers import AutoModelForCausalLM

    make: Any = AutoModelForCausalLM.from_config
    config = config_of(source)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        try:
            with quiet_transformers():
                model = make(config, trust_remote_code=False)
        except load_failures() as error:
            raise InputError(
                f"{shown(source)} must have a config that makes a model, got {first_line(error)}"
            ) from error
        size = _size_of(model)
        if lora is None:
            return size
        adapted = add_lora(model, lora)
    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    return replace(size, trained=trained)


def _size_of(model: Any) -> ModelSize:
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    weight, embedding = getattr(head, "weight", None), getattr(table, "weight", None)
    if not isinstance(weight, Tensor):
        kind = shown(str(model.config.model_type))
        raise InputError(f"the model ({kind}) must have one output embedding, got none: take a causal language model")
    apart = isinstance(embedding, Tensor) and embedding is not weight
    layers = [module for module in model.modules() if _is_linear(module) and module is not head]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return ModelSize(
        kind=str(model.config.model_type),
        vocab_size=len(weight),
        width=weight.shape[-1],
        context=context_length(model),
        parameters=parameters,
        embedding=embedding.numel() if apart and isinstance(embedding, Tensor) else 0,
        linear=sum(layer.get_parameter("weight").numel() for layer in layers),
        layer=_layer(model),
        trained=parameters,
    )


def _layer(model: Any) -> int:
    try:
        source = decoder_layers(model).source
    except ArgumentError:  # which is told where modules are asked for
        return 0
    return sum(parameter.numel() for parameter in source.parameters())


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"  # GPT-2's, its weight transposed
