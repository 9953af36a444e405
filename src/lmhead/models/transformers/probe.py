"""A model's first reading: whether it reads ids alone, whether it is causal, and how wide its logits are."""

from typing import Any, Final

import torch
from torch import Tensor, nn

from lmhead.errors import InputError
from lmhead.models.transformers.patching.probe import RUN_ERRORS
from lmhead.models.transformers.read_causal_lm import first_line
from lmhead.models.transformers.vocabulary import embedding_of
from lmhead.shown import shown

_LENGTH: Final = 8  # tokens of each of two rows
# Of the logits' deviation: experts of which one sees other tokens round otherwise, no more.
_ALIKE: Final = {torch.float32: 1e-4, torch.bfloat16: 0.02, torch.float16: 0.02}


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
    if bool(moved > _ALIKE.get(embedding.weight.dtype, 1e-4) * logits.float().std()):
        raise InputError(
            f"the model must be a causal language model, got one ({kind}) whose predictions follow later tokens: it "
            "reads both ways, and would learn to copy; take a decoder"
        )
    return logits.shape[-1]
