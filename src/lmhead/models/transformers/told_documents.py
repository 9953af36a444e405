"""How a model of transformers is told of the documents in a packed row: two ways, of which a proof picks the one.

    positions   position_ids that restart, no mask and no cache: transformers makes the masks of all layers from them
    masks       the masks themselves, one for each kind of layer: for models that do not look at the positions

A mask that is given takes the place of all that a model would make, windows included, so positions are tried first.
"""

from collections.abc import Collection
from typing import Any, Final, Literal

import torch
from torch import Tensor

from lmhead.labels.packing.attention_mask import restarting_positions, sdpa_mask

Way = Literal["positions", "masks"]
WAYS: Final[tuple[Way, ...]] = ("positions", "masks")
_WINDOWS: Final = ("sliding_window", "attention_chunk_size", "window_size", "keep_window_size")


def told(way: Way, document: Tensor, *, takes: Collection[str], config: Any, dtype: torch.dtype) -> dict[str, Any]:
    """A forward's keywords for documents [B, T]: position_ids where it takes them, and by "masks" the attention's.

    Args:
        takes: the names of the forward's parameters.
        config: of the text's decoder.
    """
    positions = {"position_ids": restarting_positions(document)} if "position_ids" in takes else {}
    return positions if way == "positions" else {**positions, "attention_mask": _masks(document, config, dtype)}


def window_of(config: Any) -> int | None:
    """Tokens that the model's narrowest layers see; None where all see everything."""
    named = [getattr(config, name, None) for name in _WINDOWS]
    sizes = [size for size in named if isinstance(size, int) and size > 0]
    return min(sizes) if sizes else None


def _masks(document: Tensor, config: Any, dtype: torch.dtype) -> Tensor | dict[str, Tensor]:
    """[B, 1, T, T] to be added to scores; where layers have windows of their own, a mask for each kind of layer."""
    seen = sdpa_mask(document)
    kinds, window = set(getattr(config, "layer_types", None) or ()), getattr(config, "sliding_window", None)
    if "sliding_attention" not in kinds or window is None:
        return _added(seen, dtype)
    within = seen & torch.ones_like(seen[0, 0]).triu_(1 - window)
    return {kind: _added(within if kind == "sliding_attention" else seen, dtype) for kind in sorted(kinds)}


def _added(seen: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)
