"""The linear cross entropy as data: the tensors, and every option that changes the numbers.

Not here: reductions and divisors (backends.py), labels and their shift (lmhead.labels).
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from lmhead.errors import IGNORE_INDEX

DIFFERENTIABLE = ("hidden", "weight", "bias", "adapter_hidden", "adapter_weight", "column_scale")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """N rows of hidden states against a head of V tokens. Everything is checked before a Problem is made.

    logits = cap(logit_scale * (column_scale * (hidden @ weight.T + adapter_hidden @ adapter_weight.T) + bias))
    """

    hidden: Tensor  # [N, D]
    weight: Tensor  # [V, D]
    targets: Tensor  # [N, K] int64: K for a row, each in [0, V) or ignore_index; a back-end refuses any other value
    bias: Tensor | None = None  # [V]
    adapter_hidden: Tensor | None = None  # [N, R], a LoRA's scale * hidden @ down.T
    adapter_weight: Tensor | None = None  # [V, R], its up
    column_scale: Tensor | None = None  # [V], a DoRA's magnitude by norm
    ignore_index: int = IGNORE_INDEX
    label_smoothing: float = 0.0
    z_loss: float = 0.0
    softcap: float | None = None
    logit_scale: float = 1.0
    compute_dtype: torch.dtype  # of the matrix products: the inputs' own, or autocast's
    memory_budget: int  # bytes beyond the gradients (and one float32 accumulator of a 16-bit head)
    entropy: bool = False  # wanted
    hits: bool = False  # wanted
    ranks: bool = False  # wanted; nll and lse come for nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """What a back-end gives for each row. Of rows that are ignored, and of what was not wanted, the values are 0.

    Loss, lse and entropy are differentiable where no coefficient was given, else only the loss; the rest is detached.
    """

    loss: Tensor  # [], the sum over rows and targets of coefficient * loss; or [N, K] where no coefficient was given
    nll: Tensor  # [N, K]
    lse: Tensor  # [N]
    entropy: Tensor  # [N], or [0] where it was not wanted
    hit: Tensor  # [N, K] bool, or [0, K] where it was not wanted
    rank: Tensor  # [N, K] int64, or [0, K] where it was not wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStatistics:
    """What the same pass tells about each target, detached, in the targets' shape; ignored positions hold 0."""

    nll: Tensor  # -log p(target), nats
    lse: Tensor  # log of the summed exponentials of the logits, nats
    entropy: Tensor  # of the predicted distribution, nats
    hit: Tensor  # bool: the target is the most probable token (the first of equals)
    scored: Tensor  # bool: the position is not ignored
    rank: Tensor | None = None  # int64, with ranks=True: how many tokens are more probable; `rank < k`: in the top k

    @property
    def probability(self) -> Tensor:
        """p(target), in [0, 1]; 0 where ignored."""
        return torch.where(self.scored, torch.exp(-self.nll), 0.0)

    def each(self, change: Callable[[Tensor], Tensor]) -> "TokenStatistics":
        """With every tensor changed alike: reshaped, moved, cut."""
        given = ((field.name, getattr(self, field.name)) for field in fields(self))
        return TokenStatistics(**{name: change(tensor) for name, tensor in given if tensor is not None})


def accumulation_dtype(compute_dtype: torch.dtype) -> torch.dtype:
    """float64 for float64, else float32: what softmax, sums and gradients across chunks are kept in."""
    return torch.float64 if compute_dtype == torch.float64 else torch.float32
