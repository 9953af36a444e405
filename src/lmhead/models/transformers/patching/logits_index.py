"""What an index of logits [..., V] takes of their positions, and what of the vocabulary."""

from typing import Any

import torch
from torch import Tensor


def taken_by(index: Any, dim: int) -> tuple[tuple[Any, ...], slice | None] | None:
    """(index of the positions, slice of the vocabulary or None for all); None where an index mixes the two."""
    given = index if isinstance(index, tuple) else (index,)
    sizes = [_dims_of(each) for each in given]
    if any(size is None for size in sizes) or sum(each is Ellipsis for each in given) > 1:
        return None
    used = sum(size for size in sizes if size is not None)
    if used > dim:
        return None
    filled: list[Any] = []
    for each in given:
        filled += [slice(None)] * (dim - used) if each is Ellipsis else [each]
    used = dim if any(each is Ellipsis for each in given) else used
    if used < dim or not filled:
        return tuple(filled), None
    last = filled[-1]
    return (tuple(filled[:-1]), last) if isinstance(last, slice) else None


def gives_view(index: Any) -> bool:
    """Whether what is taken shares its memory with the whole: nothing but numbers and slices."""
    given = index if isinstance(index, tuple) else (index,)
    return not any(isinstance(each, Tensor) for each in given)


def _dims_of(index: Any) -> int | None:
    """How many dimensions an index takes; None of one that is not followed here."""
    if index is Ellipsis:
        return 0
    if isinstance(index, Tensor):
        return index.dim() if index.dtype in (torch.bool, torch.uint8) else 1
    return 1 if isinstance(index, int | slice | torch.SymInt) and not isinstance(index, bool) else None
