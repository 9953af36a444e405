"""Sizes of a model of transformers without its weights: built of its config alone, on torch's meta device.

Not here: what training takes in bytes (lmhead.cli.plan), seconds.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from lmhead.errors import InputError
from lmhead.models.transformers.context import context_length
from lmhead.models.transformers.lora_options import LoraOptions
from lmhead.models.transformers.packages import require_package
from lmhead.models.transformers.quiet import quiet_transformers
from lmhead.models.transformers.read_causal_lm import config_of, first_line, load_failures
from lmhead.shown import shown

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_LINEAR: Final = ("Linear", "Conv1D")  # GPT-2's Conv1D is a linear layer, its weight transposed


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSize:
    """Counts of parameters by what becomes of them, and what the model reads and gives."""

    kind: str  # its type, gemma2 say
    vocab_size: int  # V: rows of the head
    width: int  # D: of the hidden states that the head reads
    context: int  # tokens that it can read at most
    parameters: int
    embedding: int  # parameters that are looked up and not multiplied: of the embedding, where it is not the head too
    linear: tuple[tuple[str, int, int], ...]  # name, inputs and outputs of each linear layer but the head

    def adapters(self, options: LoraOptions) -> int:
        """Parameters of the adapters that `add_lora` puts beside the layers."""
        return sum(
            options.rank * (inputs + outputs)
            for name, inputs, outputs in self.linear
            if not options.targets or any(name == end or name.endswith(f".{end}") for end in options.targets)
        )

    @property
    def quantizable(self) -> int:
        """Parameters of the linear layers but the head, which bitsandbytes holds in 4 or 8 bits."""
        return sum(inputs * outputs for _, inputs, outputs in self.linear)


def model_size(source: str) -> ModelSize:
    """The sizes of the causal language model in a folder, or of a name on the Hub.

    Raises:
        InputError: transformers is not installed, there is no such model, or its config makes none.
    """
    require_package("transformers", "a model that is no decoder of this library")
    from transformers import AutoModelForCausalLM

    make: Any = AutoModelForCausalLM.from_config
    config = config_of(source)
    with quiet_transformers(), torch.device("meta"):
        try:
            model = make(config, trust_remote_code=False)
        except load_failures() as error:
            raise InputError(
                f"{shown(source)} must have a config that makes a model, got {first_line(error)}"
            ) from error
    return size_of(model)


def size_of(model: "PreTrainedModel") -> ModelSize:
    """The sizes of a model that is there, on whatever device."""
    built: Any = model
    head, table = built.get_output_embeddings(), built.get_input_embeddings()
    weight = getattr(head, "weight", None)
    if not isinstance(weight, torch.Tensor):
        kind = shown(str(model.config.model_type))
        raise InputError(f"the model ({kind}) must have one output embedding, got none: take a causal language model")
    embedding = getattr(table, "weight", None)
    apart = isinstance(embedding, torch.Tensor) and embedding is not weight
    return ModelSize(
        kind=str(model.config.model_type),
        vocab_size=len(weight),
        width=weight.shape[-1],
        context=context_length(model),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        embedding=embedding.numel() if apart and isinstance(embedding, torch.Tensor) else 0,
        linear=tuple(
            (name, *_shape(module))
            for name, module in model.named_modules()
            if type(module).__name__ in _LINEAR and module is not head
        ),
    )


def _shape(layer: nn.Module) -> tuple[int, int]:
    """(inputs, outputs) of a linear layer."""
    first, second = layer.get_parameter("weight").shape
    return (first, second) if type(layer).__name__ == "Conv1D" else (second, first)
