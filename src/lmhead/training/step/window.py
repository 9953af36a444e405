"""A window of micro-batches -> its loss and gradient: batch -> loss -> backward. The loop takes the step.

Of several ranks each has rows of its own. What a mean divides by is counted over all of them before the first backward;
each one's sum is divided by that and multiplied by their number, since FSDP averages what it adds up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.losses.token_mean import depth_weights
from lmhead.models.device import autocast
from lmhead.training.step.loss_by_source import BySource, LossBySource


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowCounts:
    """What a window is divided by, over all ranks."""

    weights: tuple[float, ...]  # of the next token's scored positions, and of each depth's; 0 where nothing is scored
    scored: int  # tokens
    read: int  # tokens: the scored ones, and those that they follow on
    ranks: int = 1  # over which gradients are averaged
    cp: int = 1  # ranks that share the tokens of the same rows, and each know the statistics of all

    @staticmethod
    def of(window: Sequence[PackedBatch], *, mtp_depth: int = 0) -> "WindowCounts":
        """Of one rank's rows."""
        return WindowCounts(
            weights=tuple(depth_weights((batch.targets for batch in window), mtp_depth=mtp_depth).tolist()),
            scored=sum(batch.targets.count for batch in window),
            read=sum(batch.ids.numel() for batch in window),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowLoss:
    """The loss of a window, and the tokens that it is of."""

    loss: float  # nats per scored token, each with its weight; with further tokens of the nll alone
    weight: float  # that the mean divides by; 0 where nothing is scored
    scored: int  # tokens
    read: int  # tokens: the scored ones, and those that they follow on
    depths: tuple[float | None, ...] = ()  # nats per token that is so many further ahead; None: none counts
    total: float | None = None  # what was differentiated, where that is not `loss`
    by_source: BySource | None = None  # [2, S] nats, tokens: plain nll, where it was asked for

    @property
    def differentiated(self) -> float:
        """The loss whose gradient was taken, nats."""
        return self.loss if self.total is None else self.total


def backward(
    loss_of: Callable[..., Any],  # CausalLM.loss, compiled or not
    window: Sequence[PackedBatch],
    counts: WindowCounts,
    *,
    device: torch.device,
    dtype: torch.dtype,  # of autocast
    label_smoothing: float,
    z_loss: float,
    sums: LossBySource | None = None,
) -> WindowLoss:
    """Add the gradient of the mean over all scored tokens of the window to the parameters'.

    However the tokens are cut into micro-batches: each one's sum is divided by the weight of the whole window.

    Args:
        sums: takes the nll of each token, which the same pass leaves.
    """
    weight = counts.weights[0]
    divisor = torch.tensor(weight / counts.ranks or 1.0)  # a tensor, so that nothing is compiled anew
    loss = 0.0
    for here in window:
        batch = here.to(device)
        with autocast(device, dtype):
            made = loss_of(
                batch.ids,
                batch.targets,
                document=batch.attention_document,
                divisor=divisor,
                label_smoothing=label_smoothing,
                z_loss=z_loss,
                return_stats=False if sums is None else "nll",
            )
        part = made if sums is None else made[0]
        part.backward()
        loss += float(part.detach())
        if sums is not None:
            sums.add(here, made[1])
    return WindowLoss(
        loss=loss,
        weight=weight,
        scored=counts.scored,
        read=counts.read,
        by_source=None if sums is None else sums.sums / counts.cp,
    )
