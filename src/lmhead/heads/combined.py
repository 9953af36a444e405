"""The main head and the heads of multi-token prediction as one module: the extra ones work in training only."""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor, nn

from lmhead.errors import IGNORE_INDEX, ArgumentTypeError, require, require_kind
from lmhead.heads.fully_sharded import gathered
from lmhead.heads.hooks import refuse_late_hooks, run_early_hooks
from lmhead.heads.language_modeling import LanguageModelingHead
from lmhead.heads.parallel_multi_token import MultiTokenPredictionHead
from lmhead.heads.scoring_head import LOGITS, ScoringHead
from lmhead.labels.labels_or_targets import targets_from
from lmhead.labels.targets import Targets
from lmhead.losses.depth_weighting import DepthWeighting, divisor_of, weighting_from
from lmhead.losses.token_mean import depth_weights
from lmhead.ops.keywords import OpKeywords, require_known


class CombinedLMHead(nn.Module):
    """`head(main_hidden, mtp_hidden)` gives (logits, list of MTP logits), the list in training only, else None.

    `main` can be replaced by a `WrappedHead`: of a model's own output layer, or of one that PEFT adapts.

    Args:
        use_mtp: False makes no extra heads.
        tie_weights: of the main head; the extra heads have weights of their own.

    Example:
        >>> head = CombinedLMHead(8, 16, use_mtp=True, mtp_depth=1)
        >>> hidden = torch.zeros(2, 5, 8)
        >>> logits, mtp_logits = head(hidden, [hidden])
        >>> logits.shape, mtp_logits[0].shape
        (torch.Size([2, 5, 16]), torch.Size([2, 4, 16]))
        >>> head.eval()(hidden, [hidden])[1] is None
        True
    """

    main: ScoringHead

    def __init__(
        self,
        d_model: int,
        vocab_size: int,
        *,
        use_mtp: bool = True,
        mtp_depth: int = 1,
        tie_weights: bool = True,
        bias: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.main = LanguageModelingHead(d_model, vocab_size, bias, tie_weights, device=device, dtype=dtype)
        self.mtp = (
            MultiTokenPredictionHead(d_model, vocab_size, mtp_depth, bias, device=device, dtype=dtype)
            if use_mtp
            else None
        )

    def tie_embedding_weights(self, embedding: nn.Module) -> None:
        """Share the embedding's Parameter with the main head.

        Raises:
            ArgumentError: the head was made with tie_weights=False, or the shapes differ.
            ArgumentTypeError: the main head was replaced by one that wraps a layer.
        """
        if not isinstance(self.main, LanguageModelingHead):
            kind = type(self.main).__name__
            raise ArgumentTypeError(f"main must be a LanguageModelingHead to be tied, got {kind}: tie the layer itself")
        self.main.tie_embedding_weights(embedding)

    def forward(
        self,
        main_hidden: Tensor,  # [..., T, D]
        mtp_hidden: Sequence[Tensor] | Tensor | None = None,  # mtp_depth of [..., T, D], or one
    ) -> tuple[Tensor, list[Tensor] | None]:
        """(logits [..., T, V], list of [..., T - k, V] in training, None in eval mode or without `mtp_hidden`)."""
        logits = self.main(main_hidden)
        if self.mtp is None or mtp_hidden is None or not self.training:
            return logits, None
        return logits, self.mtp(mtp_hidden)

    @gathered
    def loss(
        self,
        main_hidden: Tensor,  # [..., T, D]
        mtp_hidden: Sequence[Tensor] | Tensor | None = None,  # mtp_depth of [..., T, D], or one
        *misplaced: object,
        labels: Tensor | None = None,  # [..., T]
        targets: Tensor | Targets | None = None,  # [..., T]
        document: Tensor | None = None,  # [..., T]
        token_weight: Tensor | None = None,  # [..., T]
        ignore_index: int = IGNORE_INDEX,
        weighting: DepthWeighting | None = None,
        divisor: Tensor | None = None,  # [1 + mtp_depth]
        **options: Unpack[OpKeywords],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(total [], {"main_loss", "mtp_loss_1", .., "total_loss"}) in nats, without logits; the dict is detached.

        Args:
            labels: or `targets`, of the next token; the further offsets are taken from them.
            weighting: lambda and the two choices of the normalisation; by default `DepthWeighting()`.
            divisor: `depth_weights(window, mtp_depth=...)` where this batch is a part of something larger.
            options: `label_smoothing`, `z_loss`, `memory_budget`, `backend`, as in `linear_cross_entropy`.

        Raises:
            ArgumentError: both `labels` and `targets` or neither, or an argument breaks its rule.
            ArgumentTypeError: ids by position, or an option that there is not.
        """
        require_known(f"{type(self).__name__}.loss", options, OpKeywords)
        refuse_late_hooks(self, name="head", remedy=LOGITS)
        run_early_hooks(self, (main_hidden, mtp_hidden), name="head", remedy=LOGITS)
        require_kind("main_hidden", main_hidden, Tensor)
        require(main_hidden.dim() >= 2, "main_hidden", "be [..., T, D]", tuple(main_hidden.shape))
        chosen = targets_from(
            misplaced,
            labels=labels,
            targets=targets,
            of=main_hidden,
            document=document,
            token_weight=token_weight,
            ignore_index=ignore_index,
        )
        mtp = self.mtp if self.training and mtp_hidden is not None else None
        weighting = weighting_from(weighting)
        weights = depth_weights(chosen, mtp_depth=0 if mtp is None else mtp.mtp_depth)
        divisor = divisor_of(divisor, len(weights) - 1)
        sums = [self.main.loss(main_hidden, targets=chosen, reduction="sum", **options)]
        if mtp is not None and mtp_hidden is not None:
            sums += mtp.losses(mtp_hidden, targets=chosen, **options)
        return weighting.combine(sums, weighting.divisors(weights, divisor))
