"""The loss of predicting the next token, from logits: a function that takes labels, and a module that takes either."""

from typing import Unpack

from torch import Tensor, nn

from lmhead.errors import IGNORE_INDEX, require, require_kind
from lmhead.labels.labels_or_targets import Word, check_word, named, targets_from
from lmhead.labels.targets import Targets
from lmhead.losses.cross_entropy import cross_entropy
from lmhead.ops.checks import check_choices, require_sizes
from lmhead.ops.keywords import ReducedKeywords, require_known
from lmhead.ops.loss_options import LossOptions, LossTerms, loss_keywords
from lmhead.ops.reduction import Reduction, check_reduction


def causal_lm_loss(
    logits: Tensor,  # [..., T, V]
    labels: Tensor | None,  # [..., T]
    *,
    document: Tensor | None = None,  # [..., T]
    token_weight: Tensor | None = None,  # [..., T]
    ignore_index: int = IGNORE_INDEX,
    **options: Unpack[ReducedKeywords],
) -> Tensor | None:
    """The mean loss in nats of predicting `labels[t + 1]` from `logits[t]`: a scalar, or [..., T] with "none".

    Equal to, with the labels on the logits' device,

        F.cross_entropy(logits[..., :-1, :].float().reshape(-1, V), labels[..., 1:].reshape(-1))

    except that nothing scored gives a differentiable 0. Labels are aligned with the inputs (often they ARE the
    inputs) and are shifted here; ids that are shifted already go to `LanguageModelingLoss()(logits, targets=...)`.

    Args:
        labels: None gives None, as a model does that is called without labels.
        document: of each position; nothing is scored across a change, negative is padding.
        token_weight: of predicting `labels[t]`, aligned with the labels.
        options: `label_smoothing`, `z_loss`, `reduction`, `divisor`, as in `cross_entropy`.

    Raises:
        ArgumentError: a shape, an option or a label breaks its rule.
        ArgumentTypeError: an argument is of the wrong kind, or there is none of that name.

    Example:
        >>> import torch
        >>> causal_lm_loss(torch.zeros(1, 3, 4), torch.tensor([[0, 1, 2]])).item()  # log 4
        1.3862943649291992

    Source: the convention of Hugging Face's models, `ForCausalLMLoss`.
    """
    require_known("causal_lm_loss", options, ReducedKeywords)
    if labels is None:
        return None
    _check_logits(logits, None)
    targets = targets_from(
        (),
        labels=labels,
        targets=None,
        of=logits,
        document=document,
        token_weight=token_weight,
        ignore_index=ignore_index,
    )
    return cross_entropy(
        logits,
        targets.ids,
        token_weight=targets.weight,
        ignore_index=ignore_index,
        **options,
    )


class LanguageModelingLoss(nn.Module):
    """The loss of the next token from logits [..., V], in nats, against `labels=` or `targets=`.

    `labels` are aligned with the inputs and shifted here; `targets` are shifted already, a Tensor or a `Targets`.

    Args:
        ids: what ids given by position are, "labels" or "targets"; None refuses them.
        options: further ones of `cross_entropy`'s loss: `z_loss`.

    Raises:
        ArgumentError: an option breaks its rule.
        ArgumentTypeError: an option is of the wrong kind, or there is none of that name.

    Example:
        >>> import torch
        >>> criterion = LanguageModelingLoss(vocab_size=4)
        >>> criterion(torch.zeros(2, 3, 4), targets=torch.tensor([[1, 2, 3], [0, 1, -100]])).item()  # log 4
        1.3862943649291992
        >>> criterion = LanguageModelingLoss(vocab_size=4, ids="targets")
        >>> criterion(torch.zeros(2, 3, 4), torch.tensor([[1, 2, 3], [0, 1, -100]])).item()
        1.3862943649291992
    """

    def __init__(
        self,
        vocab_size: int,
        ignore_index: int = IGNORE_INDEX,
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
        *,
        ids: Word | None = None,
        **options: Unpack[LossTerms],
    ) -> None:
        super().__init__()
        require_known(type(self).__name__, options, LossTerms)
        check_word(ids)
        require_sizes(vocab_size=vocab_size)
        checked = LossOptions.checked(label_smoothing=label_smoothing, **options)
        check_reduction(reduction, None)
        check_choices(ignore_index, None)
        self.vocab_size = vocab_size
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction
        vars(self).update(loss_keywords(checked))  # attributes: they may change as training goes on
        self.ids: Word | None = ids

    def forward(
        self,
        logits: Tensor,  # [..., V]
        *by_position: object,
        labels: Tensor | None = None,  # [...]
        targets: Tensor | Targets | None = None,  # [...]
        document: Tensor | None = None,  # [...]
        token_weight: Tensor | None = None,  # [...]
        divisor: float | Tensor | None = None,
    ) -> Tensor:
        """A scalar, or [...] with reduction="none", in nats.

        Args:
            token_weight: aligned with whichever ids are given.
            divisor: what the sum is divided by where this batch is a part of something larger. Only with "mean".

        Raises:
            ArgumentError: both `labels` and `targets` or neither, or an argument breaks its rule.
            ArgumentTypeError: ids by position, where the loss was made without `ids`.
        """
        _check_logits(logits, self.vocab_size)
        labels, targets = named(by_position, self.ids, labels=labels, targets=targets, owner=self)
        chosen = targets_from(
            (),
            labels=labels,
            targets=targets,
            of=logits,
            document=document,
            token_weight=token_weight,
            ignore_index=self.ignore_index,
        )
        return cross_entropy(
            logits,
            chosen.ids,
            token_weight=chosen.weight,
            ignore_index=chosen.ignore_index,
            reduction=self.reduction,
            divisor=divisor,
            **loss_keywords(self),
        )

    def extra_repr(self) -> str:
        """The options, for `repr`."""
        options = "".join(f", {name}={value}" for name, value in loss_keywords(self).items())
        ids = "" if self.ids is None else f", ids={self.ids!r}"
        sizes = f"vocab_size={self.vocab_size}, ignore_index={self.ignore_index}"
        return f"{sizes}{options}, reduction={self.reduction!r}{ids}"


def _check_logits(logits: Tensor, vocab_size: int | None) -> None:
    require_kind("logits", logits, Tensor)
    require(logits.dim() >= 1, "logits", "be [..., V]", f"shape {tuple(logits.shape)}")
    if vocab_size is not None:
        require(logits.shape[-1] == vocab_size, "logits", f"be [..., V] with V = {vocab_size}", tuple(logits.shape))
