"""Options as keywords, for functions that only pass them on to linear_cross_entropy or cross_entropy.

They take `**options: Unpack[...]`: a type checker knows every name and type, and a new one is listed once. Python takes
any keyword there, so a wrong name is refused by `require_known`.
"""

from collections.abc import Mapping
from typing import TypedDict

from torch import Tensor

from lmhead.errors import ArgumentTypeError
from lmhead.ops.adapter import Adapters
from lmhead.ops.loss_options import LossKeywords
from lmhead.ops.problem import StatisticsKeywords
from lmhead.ops.reduction import Reduction
from lmhead.ops.sharded.vocabulary_shard import VocabularyShard


class RunKeywords(TypedDict, total=False):
    """How the op goes about it; no number depends on them."""

    memory_budget: int | None
    backend: str | None


class OpKeywords(LossKeywords, RunKeywords, total=False):
    """The loss's options, and how the op goes about it."""


class MultiTokenKeywords(OpKeywords, StatisticsKeywords, total=False):
    """What the loss of several depths passes on: also which statistics each depth gets."""


class ReducedKeywords(LossKeywords, total=False):
    """The loss's options, and how the tokens' losses become one."""

    reduction: Reduction
    divisor: float | Tensor | None


class ScoredKeywords(ReducedKeywords, StatisticsKeywords, total=False):
    """What the loss of given hidden states and that of given logits have in common."""

    class_weight: Tensor | None


class HeadLossKeywords(ScoredKeywords, RunKeywords, total=False):
    """What a head's loss passes on to linear_cross_entropy."""


class ModelLossKeywords(HeadLossKeywords, total=False):
    """What a model's loss passes on to its head's."""

    adapter: Adapters
    token_weight: Tensor | None
    ignore_index: int


class LinearKeywords(ModelLossKeywords, total=False):
    """All options of linear_cross_entropy but `return_stats`, on which its result depends."""

    bias: Tensor | None
    softcap: float | None
    logit_scale: float
    shard: VocabularyShard | None


def require_known(function: str, options: Mapping[str, object], kind: type) -> None:
    """Refuse a keyword that is not one of `kind`'s, a TypedDict.

    Raises:
        ArgumentTypeError: names the function and the first such keyword.
    """
    known: Mapping[str, object] = kind.__annotations__
    for name in options:
        if name not in known:
            raise ArgumentTypeError(
                f"{function}() got an unexpected keyword argument {name!r}: it passes on {', '.join(sorted(known))}"
            )
