"""Objective: a run's window of batches -> loss and gradient, and the norms that its steps are clipped by."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.losses.depth_weighting import DepthWeighting
from lmhead.losses.lambda_schedule import LambdaSchedule
from lmhead.models.causal_lm import CausalLM
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.training.config.multi_token_config import MultiTokenConfig
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.step.loss_by_source import LossBySource
from lmhead.training.step.multi_token_window import backward_of_depths
from lmhead.training.step.window import WindowCounts, WindowLoss, backward


class Objective(Protocol):
    """What is trained for."""

    mtp_depth: int  # K: tokens beyond the next one that are learnt

    def backward(
        self, window: Sequence[PackedBatch], counts: WindowCounts, *, share: float, sums: LossBySource | None = None
    ) -> WindowLoss:
        """The window's loss; its gradient is added to the parameters'.

        Args:
            counts: of all ranks' rows.
            share: of the run's steps that were taken, in [0, 1).
            sums: takes the next tokens' nll by source.
        """

    def parts(self) -> list[list[Tensor]]:
        """The trained parameters; each part's gradient has a norm, and is clipped, by itself."""


def objective_of(
    model: CausalLM, config: TrainConfig, *, device: torch.device, dtype: torch.dtype, sharded: bool = False
) -> Objective:
    """The next token, and further ones where the model predicts them.

    Args:
        dtype: of autocast.
        sharded: the model is; its blocks were compiled by themselves.
    """
    compile = config.compile and not sharded
    how = {"device": device, "dtype": dtype, "label_smoothing": config.label_smoothing, "z_loss": config.z_loss}
    if isinstance(model, MultiTokenModel):
        return _FurtherTokens(model, config.mtp, compile=compile, **how)
    return _NextToken(model, compile=compile, **how)


class _NextToken:
    mtp_depth = 0

    def __init__(self, model: CausalLM, *, compile: bool, **how: Any) -> None:
        self._model, self._how = model, how
        self._loss_of: Callable[..., Any] = torch.compile(model.loss) if compile else model.loss

    def backward(
        self, window: Sequence[PackedBatch], counts: WindowCounts, *, share: float, sums: LossBySource | None = None
    ) -> WindowLoss:
        return backward(self._loss_of, window, counts, sums=sums, **self._how)

    def parts(self) -> list[list[Tensor]]:
        return [_trained(self._model)]


class _FurtherTokens:
    def __init__(self, model: MultiTokenModel, mtp: MultiTokenConfig, *, compile: bool, **how: Any) -> None:
        self._model, self._mtp, self._how, self.mtp_depth = model, mtp, how, model.depth
        loss = model.multi_token_loss
        self._loss_of: Callable[..., Any] = torch.compile(loss) if compile else loss
        self._lambda = _lambda_of(mtp)
        self._denominator = mtp.denominator or model.style.denominator

    def backward(
        self, window: Sequence[PackedBatch], counts: WindowCounts, *, share: float, sums: LossBySource | None = None
    ) -> WindowLoss:
        weighting = DepthWeighting(
            mtp_lambda=self._lambda.at(share), mtp_reduction=self._mtp.reduction, mtp_denominator=self._denominator
        )
        return backward_of_depths(
            self._loss_of,
            window,
            counts,
            depth=self.mtp_depth,
            weighting=weighting,
            sums=sums,
            against=self._mtp.against,
            divergence=self._mtp.divergence,
            **self._how,
        )

    def parts(self) -> list[list[Tensor]]:
        """Isolated, the model's step does not depend on the modules, neither by their gradient's norm."""
        if not self._model.isolated:
            return [_trained(self._model)]
        return [part for part in (_trained(self._model.main), _trained(self._model.mtp)) if part]


def _lambda_of(mtp: MultiTokenConfig) -> LambdaSchedule:
    first = _of_all_or_each(mtp.lambdas)
    if mtp.later_from is None:
        return LambdaSchedule(first=first, then=first, after=1.0)
    return LambdaSchedule(first=first, then=_of_all_or_each(mtp.later_lambdas), after=mtp.later_from)


def _of_all_or_each(lambdas: tuple[float, ...]) -> float | tuple[float, ...]:
    return lambdas[0] if len(lambdas) == 1 else lambdas


def _trained(model: nn.Module) -> list[Tensor]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
