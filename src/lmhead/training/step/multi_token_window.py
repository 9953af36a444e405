"""A window of micro-batches -> the loss and gradient of a model that predicts further tokens too. As window.py."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.targets import Targets
from lmhead.losses.depth_weighting import DepthWeighting, reciprocal
from lmhead.models.device import autocast
from lmhead.ops.problem import TokenStatistics
from lmhead.training.step.loss_by_source import LossBySource
from lmhead.training.step.window import WindowCounts, WindowLoss

LossOfDepths = Callable[..., tuple[Tensor, list[TokenStatistics]]]  # MultiTokenModel.multi_token_loss, compiled or not


def backward_of_depths(
    loss_of: LossOfDepths,
    window: Sequence[PackedBatch],
    counts: WindowCounts,
    *,
    depth: int,
    weighting: DepthWeighting,
    device: torch.device,
    dtype: torch.dtype,  # of autocast
    sums: LossBySource | None = None,  # takes the nll of each next token
    **options: Any,  # of the loss
) -> WindowLoss:
    """Add the gradient of the window's loss, of the next token and of each depth, to the parameters'.

    The mean of each depth is over all its scored tokens of the window, however they are cut into micro-batches.
    """
    divisors = torch.tensor(counts.weights, dtype=torch.float64) / counts.ranks
    total, nll = 0.0, torch.zeros(1 + depth, dtype=torch.float64)
    for here in window:
        batch = here.to(device)
        with autocast(device, dtype):
            part, statistics = loss_of(
                batch.ids,
                batch.targets,
                document=batch.attention_document,
                weighting=weighting,
                divisor=divisors,
                **options,
            )
        part.backward()  # type: ignore[no-untyped-call]
        total += float(part.detach())
        nll += _summed_nll(statistics, batch.targets).cpu().double()
        if sums is not None:
            sums.add(here, statistics[0].nll)
    main, *further = (nll / counts.cp * reciprocal(divisors).cpu()).tolist()
    learnt = [bool(each and weight) for each, weight in zip(weighting.coefficients(depth), divisors, strict=True)]
    return WindowLoss(
        loss=main,
        total=total,
        depths=tuple(loss if kept else None for loss, kept in zip(further, learnt[1:], strict=True)),
        weight=counts.weights[0],
        scored=counts.scored,
        read=counts.read,
        by_source=None if sums is None else sums.sums / counts.cp,
    )


def _summed_nll(statistics: Sequence[TokenStatistics], targets: Targets) -> Tensor:
    """The nll of each depth's scored tokens, each times its weight [1 + K]."""
    sums = []
    for k, each in enumerate(statistics):
        weight = targets.at(1 + k).weight
        nll = each.nll.float()
        sums.append((nll if weight is None else nll * weight[..., : nll.shape[-1]]).sum())
    return torch.stack(sums)
