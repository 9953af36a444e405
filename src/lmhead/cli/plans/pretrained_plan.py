"""The plan of fine-tuning a model that transformers loads: what can be said before it is loaded, and no more."""

from collections.abc import Iterator
from typing import Final

import torch

from lmhead.shown import shown
from lmhead.training.config.fine_tuning import PretrainedModel
from lmhead.training.config.train_config import TrainConfig

_FLOAT32: Final = 4  # bytes
# Of a weight that bitsandbytes holds: NF4 with quantised scales, 4.127 bits (Dettmers et al., "QLoRA" (2023)); int8
_QUANTIZED: Final = {"4bit": 4.127 / 8, "8bit": 1.0}


def pretrained_lines(config: TrainConfig, model: PretrainedModel) -> Iterator[str]:
    """Parameters, what of them is trained, the work of a token at most, the rows."""
    yield f"model: {shown(model.kind)}, {model.parameters:,} parameters, {_trained(config, model)}"
    yield (
        f"work: at most {pretrained_flops(config, model) / 1e6:,.1f} MFLOP a token beside the attention's scores: "
        "every parameter counts, of experts those that are not asked too"
    )
    yield f"rows: {config.rows} of {model.max_seq_len:,} tokens, {config.accumulate} times a step"


def _trained(config: TrainConfig, model: PretrainedModel) -> str:
    lora = config.lora
    if config.mtp.frozen:
        return "frozen"
    if lora.rank is None:
        return "all trained"
    bits = "" if config.quantize is None else f" in {config.quantize.removesuffix('bit')} bits"
    return f"frozen{bits}; {model.trained:,} trained, LoRA of rank {lora.rank} and alpha {lora.alpha:g}"


def pretrained_flops(config: TrainConfig, model: PretrainedModel) -> float:
    """Operations of a token's products, forward and backward: two for each parameter that is multiplied, and pass.

    The passes are forward, the gradient of what is read, and of what is trained; a layer's activations that are
    computed again are one more. Of a frozen model they are forward alone.
    """
    multiplied = model.parameters - model.embedding
    passes = 1 if config.mtp.frozen else 2 + config.gradient_checkpointing
    weights = 0 if config.mtp.frozen else min(model.trained, multiplied)
    return 2.0 * (passes * multiplied + weights) + _module_flops(config, model)


def module_parameters(config: TrainConfig, model: PretrainedModel) -> int:
    """Of the modules of multi-token prediction, as their norms have weights alone; 0 where there are none."""
    mtp = config.mtp
    if mtp.depth is None:
        return 0
    if mtp.kind == "parallel":
        return mtp.depth * model.vocab_size * model.width
    return (1 if mtp.kind == "recurrent" else mtp.depth) * (model.layer + 2 * model.width**2 + 3 * model.width)


def _module_flops(config: TrainConfig, model: PretrainedModel) -> float:
    """Their part of it, with the head's rows of every depth; isolated, no gradient of the head's weight is taken."""
    mtp, head = config.resolved().mtp, model.vocab_size * model.width
    if mtp.depth is None:
        return 0.0
    if mtp.kind == "parallel":
        return 6.0 * module_parameters(config, model)
    passes = 2 if mtp.isolated or config.lora.rank is not None else 3
    return 2.0 * mtp.depth * (3 * (model.layer + 2 * model.width**2) + passes * head)


def pretrained_memory(config: TrainConfig, model: PretrainedModel, dtype: torch.dtype) -> dict[str, int]:
    """Bytes of weights, gradients and AdamW's state; of what is trained all are float32."""
    modules = module_parameters(config, model)
    trained = _FLOAT32 * ((0 if config.mtp.frozen else model.trained) + modules)
    weights = _weights(config, model, dtype) + _FLOAT32 * modules
    parts = {"weights": weights, "gradients": trained, "optimizer": 2 * trained}
    return parts | ({"average": 2 * trained} if config.average else {})


def _weights(config: TrainConfig, model: PretrainedModel, dtype: torch.dtype) -> int:
    if config.lora.rank is None:
        copies = dtype.itemsize if dtype != torch.float32 else 0  # that autocast makes of the matrices
        return _FLOAT32 * model.parameters + copies * model.linear
    held = dtype.itemsize * (model.parameters - model.linear)
    each = dtype.itemsize if config.quantize is None else _QUANTIZED[config.quantize]
    return round(held + each * model.linear) + _FLOAT32 * model.trained
