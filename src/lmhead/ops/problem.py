"""The linear cross entropy as data: the tensors, the options that change the numbers, and what comes out of each row.

Not here: reductions and divisors (reduction.py), labels and their shift (lmhead.labels).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lmhead.errors import IGNORE_INDEX
from lmhead.ops.loss_options import PLAIN, LossOptions

DIFFERENTIABLE = ("hidden", "weight", "bias", "adapter_hidden", "adapter_weight", "column_scale")


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOutput:
    """What a back-end gives of each row beside its loss, of each of the row's targets, or of its likeliest tokens."""

    name: str  # in TokenStatistics, too
    of_each: Literal["row", "target", "top token"]  # [N], [N, K] or [N, top_k]
    dtype: torch.dtype | None = None  # None: the loss's
    wanted_by: str | None = None  # the option that asks for it; None: nobody has to, it comes for nothing
    differentiable: bool = False  # where no coefficient is given; else detached

    def shape(self, N: int, K: int, top_k: int) -> tuple[int, ...]:
        """Of N rows with K targets each."""
        return {"row": (N,), "target": (N, K), "top token": (N, top_k)}[self.of_each]


ROW_OUTPUTS = (
    RowOutput(name="nll", of_each="target"),
    RowOutput(name="lse", of_each="row", differentiable=True),
    RowOutput(name="entropy", of_each="row", differentiable=True, wanted_by="return_stats"),
    RowOutput(name="hit", of_each="target", dtype=torch.bool, wanted_by="return_stats"),
    RowOutput(name="rank", of_each="target", dtype=torch.int64, wanted_by="ranks"),
    RowOutput(name="top_ids", of_each="top token", dtype=torch.int64, wanted_by="top_k"),
    RowOutput(name="top_logprobs", of_each="top token", wanted_by="top_k"),
)


_OF_EACH = {output.name: output.of_each for output in ROW_OUTPUTS}


def outputs_wanted_by(**options: bool) -> frozenset[str]:
    """The names of the row outputs that these options ask for, and of those that come for nothing."""
    return frozenset(
        output.name for output in ROW_OUTPUTS if output.wanted_by is None or options.get(output.wanted_by, False)
    )


COME_FOR_NOTHING = outputs_wanted_by()


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
    options: LossOptions = PLAIN
    softcap: float | None = None
    logit_scale: float = 1.0
    compute_dtype: torch.dtype  # of the matrix products: the inputs' own, or autocast's
    memory_budget: int  # bytes beyond the gradients (and one float32 accumulator of a 16-bit head)
    outputs: frozenset[str] = COME_FOR_NOTHING  # names in ROW_OUTPUTS
    top_k: int = 0  # of how many tokens a row's top_ids and top_logprobs are, at most V
    what: ClassVar[str] = "cross entropy"  # is asked for

    @property
    def scored(self) -> Tensor:
        """bool [N, K]: the target is not ignored."""
        return self.targets != self.ignore_index

    @property
    def dtype(self) -> torch.dtype:
        """Of the loss."""
        return accumulation_dtype(self.compute_dtype)

    @property
    def differentiated(self) -> "Problem":
        """Itself: where the DIFFERENTIABLE are, whatever the kind of problem."""
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """What a back-end gives for N rows. Of rows that are ignored the values are 0.

    Loss, lse and entropy are differentiable where no coefficient was given, else only the loss; the rest is detached.
    """

    loss: Tensor  # [], the sum over rows and targets of coefficient * loss; or [N, K] where no coefficient was given
    rows: dict[str, Tensor]  # the problem's `outputs`, by name


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStatistics:
    """What the same pass tells about each target, detached, in the targets' shape [...]; ignored positions hold 0."""

    nll: Tensor  # -log p(target), nats
    lse: Tensor  # log of the summed exponentials of the logits, nats
    entropy: Tensor  # of the predicted distribution, nats
    hit: Tensor  # bool: the target is the most probable token (the first of equals)
    scored: Tensor  # bool: the position is not ignored
    rank: Tensor | None = None  # int64, with ranks=True: how many tokens are more probable; `rank < k`: in the top k
    top_ids: Tensor | None = None  # int64 [..., k], with top_k=k: the most probable tokens, the first of equals first
    top_logprobs: Tensor | None = None  # [..., k]: their log p, falling, nats. Of [..., K] targets a row's are [..., k]

    @staticmethod
    def of_rows(
        rows: Mapping[str, Tensor],  # outputs of N rows, by name
        scored: Tensor,  # bool [N, K]
        *,
        shape: torch.Size,  # of the targets
        leading: torch.Size,  # of the rows: the targets', or that without K
    ) -> "TokenStatistics":
        """The outputs of rows as statistics of the targets; of a row alone it is that of each of its targets."""

        def of_targets(name: str, column: Tensor) -> Tensor:
            of_each = _OF_EACH[name]
            if of_each == "top token":
                return column.reshape(*leading, column.shape[1])
            return (column[:, None].expand(scored.shape) if of_each == "row" else column).reshape(shape)

        columns = {name: of_targets(name, column.detach()) for name, column in rows.items()}
        return TokenStatistics(scored=scored.reshape(shape), **columns)

    @property
    def probability(self) -> Tensor:
        """p(target), in [0, 1]; 0 where ignored."""
        return torch.where(self.scored, torch.exp(-self.nll), 0.0)

    def each(self, change: Callable[[Tensor], Tensor]) -> "TokenStatistics":
        """With every tensor changed alike: moved, cut; where there are no top tokens, reshaped."""
        given = ((field.name, getattr(self, field.name)) for field in fields(self))
        return TokenStatistics(**{name: change(tensor) for name, tensor in given if tensor is not None})


def accumulation_dtype(compute_dtype: torch.dtype) -> torch.dtype:
    """float64 for float64, else float32: what softmax, sums and gradients across chunks are kept in."""
    return torch.float64 if compute_dtype == torch.float64 else torch.float32
