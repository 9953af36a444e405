"""What a table tells of a type: whose loss it takes, on which labels, and what its head is."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


def head_in_words(model: PreTrainedModel) -> str:
    """Of a stock model."""
    head = model.get_output_embeddings()
    if head is None:
        return "none that it names"
    if isinstance(head, nn.ModuleList):
        return f"a list of {len(head)}"
    tied = head.weight is model.get_input_embeddings().weight
    return ", ".join([*(["bias"] if head.bias is not None else []), *(["tied"] if tied else [])])


@torch.no_grad()
def loss_in_words(model: PreTrainedModel, inputs: Mapping[str, Any]) -> str:
    """Of a stock model: whether it goes through transformers' `loss_function`, and where the model shifts no labels."""
    own, called = model.loss_function, []

    def spied(*args: Any, **kwargs: Any) -> Tensor:
        called.append(True)
        return own(*args, **kwargs)

    first = torch.full_like(inputs["labels"], -100)
    first[:, 0] = inputs["input_ids"][:, 0]  # the one label that a shift drops
    model.loss_function = spied
    shifted = bool(model(**{**inputs, "labels": first}).loss.isnan())
    model.loss_function = own
    return ("`loss_function`" if called else "its own") + ("" if shifted else ", labels not shifted")
