"""How far the depths of multi-token prediction are from the model that they stand behind, without the logits of either.

    depth k at position i      predicts token i + k + 1, having read the ids up to i + k
    the main head at i + k     predicts token i + k + 1, having read the same: the teacher, detached

What is learnt is what drafts are judged by: a draft is accepted by what the model itself would say, not by the data.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Unpack

import torch
from torch import Tensor

from lmhead.errors import require, require_choice
from lmhead.labels.targets import Targets
from lmhead.losses.depth_rows import DepthRows
from lmhead.losses.head_tensors import HeadLogits
from lmhead.ops.divergence.linear_divergence import linear_divergence
from lmhead.ops.divergence.problem import KINDS, Kind
from lmhead.ops.keywords import RunKeywords
from lmhead.ops.problem import accumulation_dtype

Against = Literal["labels", "model"]
AGAINST: tuple[Against, ...] = ("labels", "model")


def checked_divergence(against: Against, divergence: Kind | None) -> Kind | None:
    """The divergence from the model, None where the depths learn labels.

    Raises:
        ArgumentError: an unknown word, or a divergence from labels.
    """
    require_choice("against", against, AGAINST)
    if against == "labels":
        rule = 'be given with against="model" only'
        require(divergence is None, "divergence", rule, repr(divergence), "leave it out")
        return None
    chosen: Kind = "forward_kl" if divergence is None else divergence
    require_choice("divergence", chosen, KINDS)
    return chosen


def require_ahead(model_ahead: Sequence[Tensor] | None, targets: Targets, kind: Kind | None) -> None:
    """Refuse to look for the model's hidden states in the row, where the targets are a part of rows.

    Raises:
        ArgumentError: they are not given.
    """
    known = kind is None or targets.whole is None or model_ahead is not None
    require(known, "model_ahead", 'be given with against="model" and targets that are a part of rows', None)


def divergence_from_the_model(
    hiddens: Sequence[Tensor],  # of depths first, first + 1, ..: [..., T', D]
    rows: Sequence[DepthRows],  # of the same
    *,
    first: int,
    head: HeadLogits,
    model_hidden: Tensor,  # [..., T, D']
    model_ahead: Sequence[Tensor] | None,  # of depths 1, 2, ..: [..., T', D']
    model_head: HeadLogits,
    kind: Kind,
    **options: Unpack[RunKeywords],
) -> Tensor:
    """The sum over positions of coefficient * divergence, in nats, in one call of the op.

    Args:
        head: of these depths.
        model_hidden, model_head: what predicts the next token; they get no gradient.
        model_ahead: the model's hidden states 1, 2, .. tokens on, where these are a part of rows; None: of this row.
    """
    own, model = head.tensors, model_head.tensors
    cuts = [None if of.shard is None else (of.shard.start, of.shard.vocab_size, of.shard.name) for of in (own, model)]
    require(cuts[0] == cuts[1], "the depth's head", "be cut over ranks as the model's is", own.shard or "a whole one")
    T = model_hidden.shape[-2]
    ahead = range(first, first + len(hiddens))
    kept = [max(T - k, 0) if model_ahead is None else T for k in ahead]
    students = [hidden[..., :length, :] for hidden, length in zip(hiddens, kept, strict=True)]
    teachers = [(model_hidden[..., k:, :] if model_ahead is None else model_ahead[k - 1]).detach() for k in ahead]
    weights = [of.coefficient[..., :length].reshape(-1) for of, length in zip(rows, kept, strict=True)]
    return linear_divergence(
        stacked(students),
        own.weight,
        stacked(teachers),
        model.weight,
        kind=kind,
        token_weight=torch.cat(weights).to(accumulation_dtype(own.weight.dtype)),
        bias=own.bias,
        teacher_bias=model.bias,
        adapter=own.adapters,
        teacher_adapter=[replace(adapter, dropout=0.0) for adapter in model.adapters],
        softcap=head.softcap,
        logit_scale=head.logit_scale,
        teacher_softcap=model_head.softcap,
        teacher_logit_scale=model_head.logit_scale,
        reduction="sum",
        shard=own.shard,
        **options,
    )


def stacked(hiddens: Sequence[Tensor]) -> Tensor:
    """Hidden states [..., D] of several depths as rows [N, D] of one call of the op."""
    rows = [hidden.reshape(-1, hidden.shape[-1]) for hidden in hiddens]
    return rows[0] if len(rows) == 1 else torch.cat(rows)
