"""Attention masks of packed rows: causal, within one document. One definition, in each kernel's form.

    looks(q, k)  =  k <= q  and  document[q] == document[k]

Padding is a document of its own, so that no query is without a key: a softmax over nothing would be NaN.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def sdpa_mask(document: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
    """bool [R, 1, T, T], True where a query may look, from the document of each position [R, T].

    With a dtype: 0 there and -inf elsewhere, to be added to the scores, as attention written out by hand needs it; a
    bool mask would be added as 1 and 0 and hide nothing.

    Example:
        >>> sdpa_mask(torch.tensor([[0, 0, 1]]))[0, 0].int().tolist()
        [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    """
    same = document[:, :, None] == document[:, None, :]
    mask = same.tril_().unsqueeze(1)
    if dtype is None:
        return mask
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, -torch.inf)


def mask_mod(document: Tensor) -> MaskMod:
    """The same as a function (row, head, query, key) -> bool, for FlexAttention; of documents [R, T]."""

    def looks(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (document[row, query] == document[row, key])

    return looks


def block_mask(document: Tensor, *, block_size: int = 128) -> "BlockMask":
    """The same as FlexAttention's BlockMask [R, 1, T, T]: blocks of `block_size` in which nothing looks are skipped."""
    from torch.nn.attention.flex_attention import create_block_mask

    R, T = document.shape
    return create_block_mask(
        mask_mod(document), B=R, H=None, Q_LEN=T, KV_LEN=T, device=str(document.device), BLOCK_SIZE=block_size
    )


def cumulative_lengths(document: Tensor) -> Tensor:
    """int32 [S + 1]: where each of the S runs of one document in [R, T] begins, rows end to end, and R * T.

    What variable-length kernels call cu_seqlens. Padding is a run, so that every position belongs to one.

    Example:
        >>> cumulative_lengths(torch.tensor([[0, 0, 1, -1], [0, 0, 0, 0]])).tolist()
        [0, 2, 3, 4, 8]
    """
    starts = torch.ones_like(document, dtype=torch.bool)
    starts[:, 1:] = document[:, 1:] != document[:, :-1]
    first = starts.flatten().nonzero().squeeze(1)
    return torch.cat([first, first.new_tensor([document.numel()])]).to(torch.int32)


def restarting_positions(document: Tensor) -> Tensor:
    """int64 [R, T]: each position counted from the start of its document, padding's too.

    Example:
        >>> restarting_positions(torch.tensor([[0, 0, 1, 1, 1, -1]])).tolist()
        [[0, 1, 0, 1, 2, 0]]
    """
    places = torch.arange(document.shape[1], device=document.device).expand_as(document)
    starts = torch.ones_like(document, dtype=torch.bool)
    starts[:, 1:] = document[:, 1:] != document[:, :-1]
    return places - places.where(starts, 0).cummax(dim=1).values
