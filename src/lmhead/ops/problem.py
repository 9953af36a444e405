"""The linear cross entropy as data: the tensors, the options that change the numbers, and what comes out of each row.

Not here: reductions and divisors (reduction.py), labels and their shift (lmhead.labels).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, TypedDict, Unpack

import torch
from torch import Tensor

from lmhead.errors import IGNORE_INDEX, ArgumentTypeError, require
from lmhead.ops.checks import require_sizes
from lmhead.ops.loss_options import PLAIN, LossOptions
from lmhead.ops.sharded.held_rows import ALL_ROWS, HeldRows

DIFFERENTIABLE = ("hidden", "weight", "bias", "adapter_hidden", "adapter_weight", "column_scale")


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOutput:
    """What a back-end gives of each row beside its loss, or of each of the row's targets."""

    name: str  # in TokenStatistics, too
    of_each: Literal["row", "target", "count"]  # [N], [N, K], or [N, count]: as many as `wanted_by` says
    dtype: torch.dtype | None = None  # None: the loss's
    wanted_by: str | None = None  # the option, or the number, that asks for it; None: it comes for nothing
    differentiable: bool = False  # where no coefficient is given; else detached

    def shape(self, N: int, K: int, count: int) -> tuple[int, ...]:
        """Of N rows with K targets each."""
        return {"row": (N,), "target": (N, K), "count": (N, count)}[self.of_each]


ROW_OUTPUTS = (
    RowOutput(name="nll", of_each="target"),
    RowOutput(name="lse", of_each="row", differentiable=True),
    RowOutput(name="entropy", of_each="row", differentiable=True, wanted_by="return_stats"),
    RowOutput(name="hit", of_each="target", dtype=torch.bool, wanted_by="return_stats"),
    RowOutput(name="max_logprob", of_each="row", wanted_by="return_stats"),
    RowOutput(name="rank", of_each="target", dtype=torch.int64, wanted_by="ranks"),
    RowOutput(name="top_ids", of_each="count", dtype=torch.int64, wanted_by="top_k"),
    RowOutput(name="top_logprobs", of_each="count", wanted_by="top_k"),
)
_OF_EACH = {output.name: output.of_each for output in ROW_OUTPUTS}
_COUNTED = {output.wanted_by for output in ROW_OUTPUTS if output.of_each == "count"}
Outputs = Mapping[str, int]  # names in ROW_OUTPUTS, and how many of each: 1, or as many as were asked for


class StatisticsKeywords(TypedDict, total=False):
    """What is asked for beside `return_stats`, as keywords for who only passes them on."""

    ranks: bool
    top_k: int | None


def outputs_wanted_by(*, return_stats: bool = False, **more: Unpack[StatisticsKeywords]) -> Outputs:
    """The row outputs that these options ask for, and those that come for nothing.

    Raises:
        ArgumentError: they are asked for without `return_stats`, or none of them is.
        ArgumentTypeError: a switch is neither True nor False, a number no integer.
    """
    options: dict[str, Any] = {"return_stats": return_stats, **more}
    counts: dict[str | None, int] = {None: 1}
    for name, asked in options.items():
        if name not in _COUNTED and not isinstance(asked, bool):
            raise ArgumentTypeError(f"{name} must be True or False, got {type(asked).__name__}")
        if asked is None or asked is False:
            continue
        require(return_stats, name, "be given with return_stats=True only", "return_stats=False")
        if name in _COUNTED:
            require_sizes(**{name: asked})
        counts[name] = asked if name in _COUNTED else 1
    return {output.name: counts[output.wanted_by] for output in ROW_OUTPUTS if output.wanted_by in counts}


def require_counts(outputs: Outputs, vocab_size: int) -> None:
    """Refuse to count more than there are tokens.

    Raises:
        ArgumentError: names the option that asks for so many.
    """
    for output in ROW_OUTPUTS:
        count = outputs.get(output.name, 0)
        fits = output.of_each != "count" or bool(count <= vocab_size)
        require(fits, str(output.wanted_by), f"be <= {vocab_size}, the number of tokens", count)


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
    outputs: Outputs = field(default_factory=lambda: COME_FOR_NOTHING)
    shard: HeldRows = ALL_ROWS  # of a head that is cut over ranks: V is the whole one's only in `targets`
    what: ClassVar[str] = "cross entropy"  # is asked for

    @property
    def vocab_size(self) -> int:
        """V of the whole head; `weight` may be this rank's part of it."""
        return self.shard.vocab_size or self.weight.shape[0]

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
    """What the same pass tells about each target, detached, in the targets' shape [...]; ignored positions hold 0.

    Example:
        >>> from lmhead import cross_entropy
        >>> _, statistics = cross_entropy(torch.zeros(1, 4), torch.tensor([2]), return_stats=True)
        >>> statistics.nll, statistics.probability  # log 4
        (tensor([1.3863]), tensor([0.2500]))
    """

    nll: Tensor  # -log p(target), nats
    lse: Tensor  # log of the summed exponentials of the logits, nats
    entropy: Tensor  # of the predicted distribution, nats
    hit: Tensor  # bool: the target is the most probable token (the first of equals)
    max_logprob: Tensor  # log p of the most probable token, nats: -nll where it is the target
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
            if of_each == "count":
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
