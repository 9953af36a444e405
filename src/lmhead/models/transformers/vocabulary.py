"""A model's two ends with a row for each token, its embedding and its head; and more rows for them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lmhead.models.transformers.quiet import quiet_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def embedding_of(model: nn.Module) -> nn.Embedding:
    """The input embedding [V, D]."""
    found: Any = model.get_input_embeddings()  # type: ignore[operator]
    return found  # type: ignore[no-any-return]


def head_of(model: nn.Module) -> nn.Linear:
    """The output layer [V, D], as it is now."""
    found: Any = model.get_output_embeddings()  # type: ignore[operator]
    return found  # type: ignore[no-any-return]


def is_tied(model: nn.Module) -> bool:
    """Whether the head's weight is the embedding's."""
    return head_of(model).weight is embedding_of(model).weight


@torch.no_grad()
def grow(model: "PreTrainedModel", size: int, new_ids: Sequence[int]) -> None:
    """Give embedding and head at least `size` rows; new ones and those of `new_ids` are the mean of the others."""
    old = [len(tensor) for tensor in _tables(model)]
    if size > min(old):
        with quiet_transformers():
            model.resize_token_embeddings(max(size, *old), mean_resizing=False)
    for tensor, rows in zip(_tables(model), old, strict=True):
        new = torch.arange(len(tensor), device=tensor.device) >= rows
        new[list(new_ids)] = True
        if bool(new.any()):
            tensor[new] = tensor[~new].float().mean(0).to(tensor.dtype)


def _tables(model: nn.Module) -> list[Tensor]:
    """Embedding and head [V, D], one where they are tied, and the head's bias [V]."""
    head = head_of(model)
    bias = getattr(head, "bias", None)
    tables = [embedding_of(model).weight, *([] if is_tied(model) else [head.weight]), *([] if bias is None else [bias])]
    return [table.data for table in tables]
