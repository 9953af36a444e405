"""Gradient norms of a step's parts, and clipping by them: of one process, and of ranks with shards on any meshes."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lmhead.ranks.own_part import own_part
from lmhead.ranks.ranks import Ranks
from lmhead.training.step.window import WindowLoss

_EPSILON = 1e-6  # as in torch.nn.utils.clip_grads_with_norm_


def joined(
    made: WindowLoss, parts: Sequence[Sequence[Tensor]], ranks: Ranks
) -> tuple[WindowLoss, Sequence[Tensor | float]]:
    """(the loss of all ranks' rows, the norm of each part's gradients as one vector): one collective."""
    gradients = [[each.grad for each in part if each.grad is not None] for part in parts]
    if ranks.size == 1:
        return made, [torch.nn.utils.get_total_norm(part) for part in gradients]
    from lmhead.ranks.sharding import square_sum

    known = [0.0 if loss is None else loss for loss in made.depths]
    by_source = [] if made.by_source is None else made.by_source.ravel().tolist()
    squares = [square_sum(part, ranks.size) for part in gradients]
    sums = ranks.summed([made.loss, made.total or 0.0, *known, *squares, *by_source])
    loss, total, *depths = (each / ranks.size for each in sums[: 2 + len(known)])
    first, last = 2 + len(known), 2 + len(known) + len(squares)
    whole = replace(
        made,
        loss=loss,
        total=None if made.total is None else total,
        depths=tuple(None if of is None else each for of, each in zip(made.depths, depths, strict=True)),
        by_source=None if made.by_source is None else np.reshape(sums[last:], made.by_source.shape),
    )
    return whole, [math.sqrt(each) if each >= 0 else math.nan for each in sums[first:last]]


def clip(parameters: Sequence[Tensor], most: float, norm: Tensor | float) -> None:
    """Scale the gradients, whose norm is more, to a norm of at most `most`."""
    if isinstance(norm, Tensor):
        torch.nn.utils.clip_grads_with_norm_(parameters, most, norm)
        return
    torch._foreach_mul_([own_part(each.grad) for each in parameters if each.grad is not None], most / (norm + _EPSILON))
