"""A tiny random model of any type in transformers' MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, and a batch that it can read.

    model = build("gemma2")
    model(**inputs_for(model)).loss.backward()

All 185 types that can be built take ten seconds.
"""

from collections.abc import Mapping
from typing import Any, Final

import torch
import transformers
from tests.models.transformers.causal_lms.exceptions import (
    KEPT_VOCAB,
    LEFT_TO_THE_CONFIG,
    SHAPES,
    SWITCHED_ON,
)
from tests.models.transformers.causal_lms.rules import FIRST_ID, shrunk
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

CLASSES: Final[Mapping[str, str]] = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
_CHOSEN: Final[Mapping[str, str]] = {  # for the quick suite: every way from head to loss
    "llama": "nothing but a cast to float32",
    "gpt2": "tied to the embedding",
    "qwen3": "an architecture of this library's own decoder",
    "mixtral": "the loss of a router is added",
    "gemma2": "capped: c tanh(z / c); tied",
    "cohere": "multiplied by a number that the model copies; tied",
    "granite": "divided by a number of the config",
    "phi": "a bias",
    "bert": "a dense layer and a norm before the head, a bias; tied",
    "inkling2_text": "capped, and the last columns are cut off",
    "bart": "a loss of its own on labels that are not shifted; tied",
    "xlm": "a loss of its own on labels that are not shifted, a bias; tied",
    "git": "labels are shifted by the model; needs images; a bias",
}
DOZEN: Final = tuple(model_type for model_type in _CHOSEN if model_type in CLASSES)  # an older transformers has fewer


def build(model_type: str, *, seed: int = 0, **fields: Any) -> PreTrainedModel:
    """A model in float32 and training mode, the same for the same `seed`.

    Args:
        fields: of the config, over what makes it small.
    """
    config = config_of(model_type, **fields)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, CLASSES[model_type])._from_config(config, dtype=torch.float32)
    return model.float().train()  # xLSTM and others keep a dtype of their own


def config_of(model_type: str, **fields: Any) -> PretrainedConfig:
    """A tiny config of the type, its decoder switched on; of a model with images, the part that has the text."""
    whole, read = CONFIG_MAPPING[model_type], getattr(transformers, CLASSES[model_type]).config_class
    kind = read if read in whole.sub_configs.values() else whole  # as AutoModelForCausalLM does
    chosen = shrunk(kind().to_dict())
    for exceptions in (SHAPES.get(model_type, {}), SWITCHED_ON.get(model_type, {}), fields):
        _merge(chosen, exceptions)
    config = kind(**chosen)
    if hasattr(config, "is_decoder") and not getattr(config, "is_encoder_decoder", False):
        config.is_decoder = True  # the BERTs: without it they are no causal LM
    return config


def _merge(chosen: dict[str, Any], exceptions: Mapping[str, Any]) -> None:
    for name, value in exceptions.items():
        if value is LEFT_TO_THE_CONFIG:
            chosen.pop(name, None)
        elif isinstance(value, dict) and isinstance(chosen.get(name), dict):
            chosen[name] |= value
        else:
            chosen[name] = value


def inputs_for(model: PreTrainedModel, *, rows: int = 2, length: int = 12, seed: int = 1) -> dict[str, Any]:
    """Ids [rows, length], labels [rows, length] drawn apart from them, and what else the model's forward needs.

    The first 3 labels of each row are ignored, and from the second row on those after the seventh. Reformer trains on
    length 12 alone.
    """
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randint(FIRST_ID, KEPT_VOCAB, shape, generator=generator)

    config = model.config
    if config.model_type.startswith("musicgen"):  # codebooks lie among the rows, and behind the labels' length
        codebooks = config.num_codebooks
        return {"input_ids": drawn(rows * codebooks, length), "labels": _some(drawn(rows, length, codebooks))}
    inputs: dict[str, Any] = {"input_ids": drawn(rows, length), "labels": _some(drawn(rows, length))}
    if config.model_type == "git":
        size = config.vision_config.image_size
        inputs["pixel_values"] = torch.randn(rows, 3, size, size, generator=generator)
    if config.model_type in ("blt", "xlstm"):  # their caches take no part in training, and Blt's cannot be made
        inputs["use_cache"] = False
    return inputs


def _some(labels: Tensor) -> Tensor:
    labels[:, :3] = -100
    labels[1:, 7:] = -100
    return labels
