"""The head of a language model: logits for inference, and the loss without logits for training.

The loss is a method of the head because the weight is used there: hooks that gather it (FSDP2:
`register_fsdp_forward_method(head, "loss")`) fire, and nobody takes the weight out of its module.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Literal, overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmhead.errors import IGNORE_INDEX, ArgumentError, ArgumentTypeError, require
from lmhead.labels.choice import targets_from
from lmhead.labels.targets import Targets
from lmhead.losses.depth_weighting import DepthWeighting
from lmhead.losses.multi_token import multi_token_loss
from lmhead.ops.dispatch import Reduction, linear_cross_entropy
from lmhead.ops.problem import TokenStatistics


class LanguageModelingHead(nn.Module):
    """`head(hidden)` gives logits [..., V]; `head.loss(hidden, labels=...)` gives the loss and makes no logits.

    Args:
        tie_weights: the weight is to be shared with an embedding, by `tie_embedding_weights`; until then the head
            has one of its own. False refuses to tie.
        softcap: logits are softcap * tanh(logits / softcap) (Gemma 2); None is off.
        logit_scale: what logits are multiplied with, before the cap (Cohere, Granite).

    Example:
        >>> embedding, head = nn.Embedding(16, 8), LanguageModelingHead(8, 16)
        >>> head.tie_embedding_weights(embedding)
        >>> hidden, labels = torch.zeros(2, 5, 8), torch.ones(2, 5, dtype=torch.long)
        >>> head(hidden).shape, round(head.loss(hidden, labels=labels).item(), 4)  # log 16
        (torch.Size([2, 5, 16]), 2.7726)
    """

    weight: nn.Parameter  # [V, D]
    bias: nn.Parameter | None  # [V]

    def __init__(
        self,
        d_model: int,
        vocab_size: int,
        bias: bool = False,
        tie_weights: bool = True,
        *,
        softcap: float | None = None,
        logit_scale: float = 1.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        require(d_model > 0, "d_model", "be > 0", d_model)
        require(vocab_size > 0, "vocab_size", "be > 0", vocab_size)
        require(softcap is None or 0.0 < softcap < math.inf, "softcap", "be finite and > 0", softcap, "None is off")
        require(math.isfinite(logit_scale), "logit_scale", "be finite", logit_scale)
        self.d_model = d_model
        self.vocab_size = vocab_size
        self.tie_weights = tie_weights
        self.softcap = softcap
        self.logit_scale = logit_scale
        self.weight = nn.Parameter(torch.empty(vocab_size, d_model, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(vocab_size, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weight as nn.Linear does, uniformly within 1 / sqrt(D), and set the bias to 0."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def tie_embedding_weights(self, embedding: nn.Module) -> None:
        """Share the Parameter `embedding.weight` [V, D]: one tensor, one gradient, in both modules' state dicts.

        Tie after a model made on the meta device has been materialised, and again after `load_state_dict` with
        assign=True: both give each module a Parameter of its own.

        Raises:
            ArgumentError: the head was made with tie_weights=False, or the shapes differ.
        """
        if not self.tie_weights:
            raise ArgumentError("tie_weights must be True to tie, got False: make the head with tie_weights=True")
        weight = getattr(embedding, "weight", None)
        if not isinstance(weight, nn.Parameter):
            kind = type(embedding).__name__
            raise ArgumentTypeError(f"embedding must have a Parameter named weight, got {kind}: pass an nn.Embedding")
        shape = (self.vocab_size, self.d_model)
        require(weight.shape == shape, "embedding.weight", f"be [V, D] = {list(shape)}", list(weight.shape))
        self.weight = weight

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits [..., V] of hidden states [..., D]; for inference: training takes `loss`, which makes none."""
        logits = F.linear(hidden, self.weight, self.bias)
        if self.logit_scale != 1.0:
            logits = logits * self.logit_scale
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    @overload
    def loss(
        self,
        hidden: Tensor,
        *misplaced: object,
        labels: Tensor | None = None,
        targets: Tensor | Targets | None = None,
        document: Tensor | None = None,
        token_weight: Tensor | None = None,
        ignore_index: int = IGNORE_INDEX,
        label_smoothing: float = 0.0,
        z_loss: float = 0.0,
        reduction: Reduction = "mean",
        divisor: float | Tensor | None = None,
        return_stats: Literal[False] = False,
        memory_budget: int | None = None,
        backend: str | None = None,
    ) -> Tensor: ...

    @overload
    def loss(
        self,
        hidden: Tensor,
        *misplaced: object,
        labels: Tensor | None = None,
        targets: Tensor | Targets | None = None,
        document: Tensor | None = None,
        token_weight: Tensor | None = None,
        ignore_index: int = IGNORE_INDEX,
        label_smoothing: float = 0.0,
        z_loss: float = 0.0,
        reduction: Reduction = "mean",
        divisor: float | Tensor | None = None,
        return_stats: Literal[True],
        memory_budget: int | None = None,
        backend: str | None = None,
    ) -> tuple[Tensor, TokenStatistics]: ...

    def loss(
        self,
        hidden: Tensor,  # [..., D]
        *misplaced: object,
        labels: Tensor | None = None,  # [...]
        targets: Tensor | Targets | None = None,  # [...]
        document: Tensor | None = None,  # [...]
        token_weight: Tensor | None = None,  # [...]
        ignore_index: int = IGNORE_INDEX,
        label_smoothing: float = 0.0,
        z_loss: float = 0.0,
        reduction: Reduction = "mean",
        divisor: float | Tensor | None = None,
        return_stats: bool = False,
        memory_budget: int | None = None,
        backend: str | None = None,
    ) -> Tensor | tuple[Tensor, TokenStatistics]:
        """The loss of the next token in nats, without logits: `linear_cross_entropy` with this head's weight.

        Args:
            labels: aligned with the inputs, shifted here; or `targets`, shifted already, a Tensor or a `Targets`.
            document: of each position; nothing is scored across a change, negative is padding. A Targets has its own.
            token_weight: aligned with whichever ids are given.
            divisor: what the sum is divided by where this batch is a part of something larger (`scored_weight`).
            return_stats: also return TokenStatistics, from the same pass.
            memory_budget: bytes beyond the gradients; see `linear_cross_entropy`.

        Raises:
            ArgumentError: both `labels` and `targets` or neither, or an argument breaks its rule.
            ArgumentTypeError: ids by position.
        """
        chosen = self._chosen(hidden, misplaced, labels, targets, document, token_weight, ignore_index)
        call = partial(
            linear_cross_entropy,
            hidden,
            self.weight,
            chosen.ids,
            bias=self.bias,
            token_weight=chosen.weight,
            ignore_index=chosen.ignore_index,
            label_smoothing=label_smoothing,
            z_loss=z_loss,
            softcap=self.softcap,
            logit_scale=self.logit_scale,
            reduction=reduction,
            divisor=divisor,
            memory_budget=memory_budget,
            backend=backend,
        )
        return call(return_stats=True) if return_stats else call()

    def multi_token_loss(
        self,
        hiddens: Sequence[Tensor],  # 1 + K of [..., T - k, D]
        *misplaced: object,
        labels: Tensor | None = None,  # [..., T]
        targets: Tensor | Targets | None = None,  # [..., T]
        document: Tensor | None = None,  # [..., T]
        token_weight: Tensor | None = None,  # [..., T]
        ignore_index: int = IGNORE_INDEX,
        weighting: DepthWeighting | None = None,
        divisor: Tensor | None = None,  # [1 + K]
        label_smoothing: float = 0.0,
        z_loss: float = 0.0,
        memory_budget: int | None = None,
        backend: str | None = None,
    ) -> tuple[Tensor, list[TokenStatistics]]:
        """(total, statistics of each depth) where all depths share this head; see `lmhead.losses.multi_token_loss`.

        Raises:
            ArgumentError: both `labels` and `targets` or neither, or an argument breaks its rule.
            ArgumentTypeError: ids by position.
        """
        require(len(hiddens) >= 1, "hiddens", "hold the main hidden states first", "none")
        chosen = self._chosen(hiddens[0], misplaced, labels, targets, document, token_weight, ignore_index)
        return multi_token_loss(
            hiddens,
            self.weight,
            chosen,
            bias=self.bias,
            weighting=weighting,
            divisor=divisor,
            label_smoothing=label_smoothing,
            z_loss=z_loss,
            softcap=self.softcap,
            logit_scale=self.logit_scale,
            memory_budget=memory_budget,
            backend=backend,
        )

    def _chosen(
        self,
        hidden: Tensor,
        misplaced: tuple[object, ...],
        labels: Tensor | None,
        targets: Tensor | Targets | None,
        document: Tensor | None,
        token_weight: Tensor | None,
        ignore_index: int,
    ) -> Targets:
        width = hidden.shape[-1] if hidden.dim() else 0
        require(width == self.d_model, "hidden", f"be [..., D] with D = {self.d_model}", tuple(hidden.shape))
        return targets_from(
            misplaced,
            labels=labels,
            targets=targets,
            shape=hidden.shape[:-1],
            device=hidden.device,
            document=document,
            token_weight=token_weight,
            ignore_index=ignore_index,
        )

    def extra_repr(self) -> str:
        """The options, for `repr`."""
        extra = "" if self.softcap is None else f", softcap={self.softcap}"
        extra += "" if self.logit_scale == 1.0 else f", logit_scale={self.logit_scale}"
        return f"{self.d_model}, {self.vocab_size}, bias={self.bias is not None}, tie_weights={self.tie_weights}{extra}"
