"""Conditions that can be found out: what a given model and tokenizer are, and what an evaluation is made with."""

import hashlib
import time
from typing import Final

import torch
from torch import nn

from lmhead.evaluation.card.conditions import Making, ModelConditions, TokenizerConditions
from lmhead.given.given_model import GivenModel
from lmhead.given.given_tokenizer import GivenTokenizer
from lmhead.models.transformers.pretrained_causal_lm import PretrainedCausalLM
from lmhead.training.environment import environment

_AT_ONCE: Final = 1 << 22  # numbers


def model_conditions(given: GivenModel, dtype: torch.dtype, *, step: int | None = None) -> ModelConditions:
    """Of a model.

    Args:
        dtype: of autocast; float32 is none.
        step: of its run.
    """
    model = given.model
    inner = model.model if isinstance(model, PretrainedCausalLM) else model
    dtypes = sorted({_name(parameter.dtype) for parameter in model.parameters()})
    return ModelConditions(
        name=given.name,
        kind=type(inner).__name__,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        weights_sha256=weights_sha256(inner),
        weights_dtype=", ".join(dtypes),
        dtype=_name(dtype) if dtype != torch.float32 else dtypes[0] if len(dtypes) == 1 else "float32",
        device=str(given.device),
        step=step,
        context=model.max_seq_len,
    )


def tokenizer_conditions(tokenizer: GivenTokenizer) -> TokenizerConditions:
    """Of a tokenizer."""
    return TokenizerConditions(**tokenizer.header())


def making(device: torch.device, *, seconds: float, command: str | None = None) -> Making:
    """What an evaluation that has just ended was made with.

    Args:
        seconds: that it took.
        command: as it was typed.
    """
    known = environment(device)
    return Making(
        **{name: known[name] for name in ("versions", "system", "processor", "device", "threads")},
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        seconds=round(seconds, 3),
        command=command,
    )


@torch.no_grad()
def weights_sha256(model: nn.Module) -> str:
    """sha256 over the parameters as they lie in memory, by name: name, dtype, shape, then their bytes.

    Equal for equal weights, whatever file they came from. What is tied is there once; buffers are not, as they are
    made of the config.

    Example:
        >>> weights_sha256(nn.Linear(2, 1, bias=False)) == weights_sha256(nn.Linear(2, 1, bias=False))
        False
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(f"{name} {_name(parameter.dtype)} {list(parameter.shape)}\n".encode())
        flat = parameter.detach().flatten()
        for begin in range(0, len(flat), _AT_ONCE):
            digest.update(flat[begin : begin + _AT_ONCE].view(torch.uint8).cpu().numpy().data)
    return digest.hexdigest()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
