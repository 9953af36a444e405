"""A small drawn batch for a model, with labels that are not its ids."""

import inspect
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from lmhead.errors import IGNORE_INDEX, ArgumentError, ArgumentTypeError

_ROWS: Final = 2
_LENGTH: Final = 8  # tokens


def drawn_batch(model: nn.Module, example: Mapping[str, Any] | None, *, rows: int) -> dict[str, Any]:
    """The forward's keywords: ids and labels are drawn, whatever else a model needs is the example's.

    Args:
        rows: of the output layer. The last eighth is not drawn: a model may cut its vocabulary.

    Raises:
        ArgumentError: the example has neither input_ids nor labels.
        ArgumentTypeError: it is no mapping.
    """
    generator = torch.Generator("cpu").manual_seed(0)
    if example is None:
        embedding = model.get_input_embeddings()  # type: ignore[operator]
        known = min(rows, int(getattr(embedding, "num_embeddings", rows)))
        ids = _drawn((_ROWS, _LENGTH), known, generator).to(model.device)  # type: ignore[arg-type]
        labels = _drawn((_ROWS, _LENGTH), known, generator)
        labels[:, :2] = labels[1, 5:] = IGNORE_INDEX
        # a cache is for generation, and some models refuse one in training
        parameters = inspect.signature(type(model).forward).parameters
        caching = {"use_cache": False} if "use_cache" in parameters else {}
        return {"input_ids": ids, "labels": labels.to(ids.device), **caching}
    if not isinstance(example, Mapping):
        raise ArgumentTypeError(
            f"example must be a mapping of the keywords that the model is called with, got {type(example).__name__}: "
            "give a batch, a dict with input_ids and labels say"
        )
    given = example.get("labels")
    like = example.get("input_ids") if given is None else given
    if not isinstance(like, Tensor):
        raise ArgumentError(
            "example must hold input_ids or labels, a Tensor: the keywords that the model is called with"
        )
    labels = _drawn(tuple(like.shape), rows, generator).to(like.device)
    if given is not None:
        labels = labels.where(given != IGNORE_INDEX, IGNORE_INDEX)
    return {**example, "labels": labels}


def _drawn(shape: tuple[int, ...], rows: int, generator: torch.Generator) -> Tensor:
    high = max(1, rows - rows // 8)
    return torch.randint(min(4, high - 1), high, shape, generator=generator, device="cpu")
