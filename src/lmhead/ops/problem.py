"""The linear cross entropy as data: the tensors, and every option that changes the numbers.

Not here: reductions and divisors (dispatch.py), labels and their shift (lmhead.labels).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lmhead.errors import IGNORE_INDEX


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """N rows of hidden states against a head of V tokens. Everything is checked before a Problem is made."""

    hidden: Tensor  # [N, D]
    weight: Tensor  # [V, D]
    targets: Tensor  # [N] int64, in [0, V) or ignore_index; a back-end refuses any other value
    bias: Tensor | None = None  # [V]
    ignore_index: int = IGNORE_INDEX
    label_smoothing: float = 0.0
    z_loss: float = 0.0
    softcap: float | None = None
    logit_scale: float = 1.0
    compute_dtype: torch.dtype  # of the matrix products: the inputs' own, or autocast's
    memory_budget: int  # bytes beyond the gradients (and one float32 accumulator of a 16-bit head)
    statistics: bool = False  # entropy and hits wanted; nll and lse come for nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStatistics:
    """What the same pass tells about each position, detached, in the targets' shape; ignored positions hold 0."""

    nll: Tensor  # -log p(target), nats
    lse: Tensor  # log of the summed exponentials of the logits, nats
    entropy: Tensor  # of the predicted distribution, nats
    hit: Tensor  # bool: the target is the most probable token (the first of equals)
    scored: Tensor  # bool: the position is not ignored


def accumulation_dtype(compute_dtype: torch.dtype) -> torch.dtype:
    """float64 for float64, else float32: what softmax, sums and gradients across chunks are kept in."""
    return torch.float64 if compute_dtype == torch.float64 else torch.float32
