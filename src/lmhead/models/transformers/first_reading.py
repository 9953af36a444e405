"""What a model has to be, and its first reading: does it run on ids alone, is it causal, how wide are its logits."""

from typing import Any, Final

import torch
from torch import Tensor, nn

from lmhead.errors import ArgumentError, ArgumentTypeError, InputError
from lmhead.models.transformers.patching.probe import RUN_ERRORS
from lmhead.models.transformers.precision import Precision, precision_of
from lmhead.models.transformers.read_causal_lm import first_line
from lmhead.models.transformers.vocabulary import embedding_of
from lmhead.shown import shown

_LENGTH: Final = 8  # tokens of each of two rows
# Of the logits' deviation: experts of which one sees other tokens round otherwise, no more.
_ALIKE: Final[dict[Precision, float]] = {"float32": 1e-4, "16 bits": 0.02, "8 bits": 0.15}


def require_model(model: object) -> None:
    """Refuse what is neither a model of transformers nor PEFT's within the layers of one.

    Raises:
        ArgumentError: PEFT's, but beside its layers.
        ArgumentTypeError: something else.
    """
    if not hasattr(model, "get_output_embeddings") or not hasattr(getattr(model, "config", None), "get_text_config"):
        raise ArgumentTypeError(
            f"model must be a model of transformers, or PEFT's around one, got {type(model).__name__}: give what is "
            "inside it (DistributedDataParallel, torch.compile)"
        )
    configs: dict[str, Any] = getattr(model, "peft_config", None) or {}
    for config in configs.values():
        if getattr(config, "is_prompt_learning", False):
            raise ArgumentError(
                f"model must have adapters in its layers, got {shown(str(config.peft_type))}, whose prompt stands "
                "before the tokens: take LoRA, or another that changes layers"
            )


@torch.no_grad()
def logits_width(model: nn.Module, **keywords: Any) -> int:
    """V, the width of the logits, of a causal language model [transformers] that was read through once.

    Raises:
        InputError: it needs more than ids, or a position sees what follows it, so that it would learn to copy.
    """
    training, kind = model.training, shown(str(getattr(model.config, "model_type", type(model).__name__)))
    embedding = embedding_of(model)
    ids = torch.arange(_LENGTH, device=embedding.weight.device).repeat(2, 1) % embedding.num_embeddings
    ids[1, -1] = 0
    model.eval()
    try:
        logits: Tensor = model(input_ids=ids, **keywords).logits
    except RUN_ERRORS as error:
        raise InputError(f"the model ({kind}) must run on token ids alone, got: {first_line(error)}") from error
    finally:
        model.train(training)
    moved = (logits[0, :-1] - logits[1, :-1]).abs().max()
    if bool(moved > _ALIKE[precision_of(model)] * logits.float().std()):
        raise InputError(
            f"the model must be a causal language model, got one ({kind}) whose predictions follow later tokens: it "
            "reads both ways, and would learn to copy; take a decoder"
        )
    return logits.shape[-1]
