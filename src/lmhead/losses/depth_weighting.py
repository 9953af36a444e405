"""DepthWeighting: how the losses of the depths of multi-token prediction become one.

    total = main + mtp_lambda * mean over k of L_k      mtp_reduction="mean" (the default): DeepSeek-V3, Megatron
    total = main + mtp_lambda * sum over k of L_k       mtp_reduction="sum"; equal at depth 1 only
    total = main + sum over k of mtp_lambda[k - 1] L_k  one number a depth, whatever mtp_reduction is

L_k is a mean over the positions that depth k scores (mtp_denominator="own", the default), or its sum over what the
main loss divides by ("main": the T of DeepSeek-V3's report). A depth with nothing to score contributes 0, not NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lmhead.errors import require, require_choice, require_kind
from lmhead.losses.lambda_schedule import checked_lambda
from lmhead.ops.checks import require_wide

_DIVISOR = "take depth_weights(window, mtp_depth=...)"


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthWeighting:
    """How the depths' losses become one.

    Example:
        >>> DepthWeighting(mtp_lambda=0.3).coefficients(2), DepthWeighting(mtp_lambda=[0.5, 0.2]).coefficients(2)
        ([1.0, 0.15, 0.15], [1.0, 0.5, 0.2])
    """

    mtp_lambda: float | Sequence[float] = 0.3
    mtp_reduction: Literal["mean", "sum"] = "mean"
    mtp_denominator: Literal["own", "main"] = "own"

    def __post_init__(self) -> None:
        object.__setattr__(self, "mtp_lambda", checked_lambda("mtp_lambda", self.mtp_lambda))
        for name, value, choices in (
            ("mtp_reduction", self.mtp_reduction, ("mean", "sum")),
            ("mtp_denominator", self.mtp_denominator, ("own", "main")),
        ):
            require_choice(name, value, choices)

    def divisors(
        self,
        weights: Tensor,  # [1 + K]
        divisor: Tensor | None,  # [1 + K]
    ) -> Tensor:
        """What each depth's summed loss is divided by [1 + K], from this batch's `depth_weights` or the window's.

        Raises:
            ArgumentError: the window's weights are for another number of depths, or in less than float32.
            ArgumentTypeError: `divisor` is no Tensor.
        """
        if divisor is not None:
            require_kind("divisor", divisor, Tensor, _DIVISOR)
            require(
                divisor.shape == weights.shape,
                "divisor",
                f"be [1 + depths] = [{weights.numel()}]",
                tuple(divisor.shape),
                _DIVISOR,
            )
            require_wide("divisor", divisor)
            weights = divisor.to(weights)
        return weights if self.mtp_denominator == "own" else weights[:1].expand_as(weights)

    def coefficients(self, depths: int) -> list[float]:
        """What each depth's loss is multiplied with in the total: 1 for the main loss, then lambda, or lambda / K.

        Raises:
            ArgumentError: there are numbers for another count of depths.
        """
        if isinstance(self.mtp_lambda, Sequence):
            self.require_depths(depths)
            return [1.0, *self.mtp_lambda[:depths]]
        share = self.mtp_lambda / depths if depths and self.mtp_reduction == "mean" else self.mtp_lambda
        return [1.0] + [share] * depths

    def require_depths(self, depths: int) -> None:
        """Refuse numbers for another count of depths than runs; where none runs (a head in eval mode) any will do.

        Raises:
            ArgumentError: there are more or fewer.
        """
        if isinstance(self.mtp_lambda, Sequence) and depths:
            given = len(self.mtp_lambda)
            require(given == depths, "mtp_lambda", f"be a number, or {depths} numbers, one a depth", given)

    def combine(
        self,
        sums: Sequence[Tensor],  # 1 + K of []
        divisors: Tensor,  # [1 + K]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(total [], parts) from each depth's summed loss; parts, detached: main_loss, mtp_loss_1, .., total_loss."""
        losses = [total * reciprocal(divisor).to(total) for total, divisor in zip(sums, divisors.unbind(), strict=True)]
        stacked = torch.stack(losses)
        # a tensor of them: times a Python number, a loss without dimensions has a float64 tangent in forward mode
        total = (stacked * stacked.new_tensor(self.coefficients(len(losses) - 1))).sum()
        names = ["main_loss"] + [f"mtp_loss_{k}" for k in range(1, len(losses))]
        parts = {name: loss.detach() for name, loss in zip(names, losses, strict=True)}
        return total, {**parts, "total_loss": total.detach()}


def weighting_from(weighting: DepthWeighting | None) -> DepthWeighting:
    """`weighting`, or the default where there is none.

    Raises:
        ArgumentTypeError: it is something else.
    """
    if weighting is None:
        return DepthWeighting()
    require_kind("weighting", weighting, DepthWeighting)
    return weighting


def divisor_of(divisor: Tensor | None, depths: int) -> Tensor | None:
    """The divisor [1 + K] of what runs: the main loss's alone where no depth does.

    Raises:
        ArgumentError: it is no vector.
        ArgumentTypeError: it is no Tensor.
    """
    if divisor is None:
        return None
    require_kind("divisor", divisor, Tensor, _DIVISOR)
    require(divisor.dim() == 1, "divisor", "be [1 + depths]", tuple(divisor.shape), _DIVISOR)
    return divisor if depths else divisor[:1]


def reciprocal(divisor: Tensor) -> Tensor:
    """1 / divisor, and 0 where nothing was scored."""
    return torch.where(divisor > 0, 1 / divisor, 0.0)
