"""Multi-token prediction: the loss of the next token plus those of the tokens after it.

Depth k predicts the token 1 + k ahead of position t; how the depths become one loss is depth_weighting.py's.

Two ways in: `MultiTokenPredictionLoss` for logits, `multi_token_loss` for hidden states that share one head.
"""

from collections.abc import Sequence
from typing import Literal, Unpack

from torch import Tensor, nn

from lmhead.errors import IGNORE_INDEX, require, require_kind
from lmhead.labels.labels_or_targets import Word, check_word, named, targets_from
from lmhead.labels.targets import Targets
from lmhead.losses.cross_entropy import cross_entropy
from lmhead.losses.depth_divergence import Against, checked_divergence, require_ahead
from lmhead.losses.depth_losses import Teacher, depth_losses
from lmhead.losses.depth_rows import depth_rows, rows_of_depth
from lmhead.losses.depth_weighting import DepthWeighting, divisor_of, weighting_from
from lmhead.losses.head_tensors import HeadLogits, HeadTensors
from lmhead.losses.token_mean import depth_weights
from lmhead.ops.adapter import Adapters, as_tuple
from lmhead.ops.checks import check_choices, check_head, check_tensor, require_sizes
from lmhead.ops.divergence.problem import Kind
from lmhead.ops.keywords import MultiTokenKeywords, require_known
from lmhead.ops.loss_options import LossOptions, LossTerms, loss_keywords
from lmhead.ops.problem import TokenStatistics
from lmhead.ops.sharded.vocabulary_shard import VocabularyShard


class MultiTokenPredictionLoss(nn.Module):
    """The loss of the next token and of `mtp_depth` tokens after it, from logits that somebody already has.

    Args:
        ids: what ids given by position are, "labels" or "targets"; None refuses them.
        options: further ones of `cross_entropy`'s loss: `z_loss`.

    Raises:
        ArgumentError: an option breaks its rule.
        ArgumentTypeError: an option is of the wrong kind, or there is none of that name.

    Example:
        >>> import torch
        >>> criterion = MultiTokenPredictionLoss(vocab_size=4, mtp_depth=1, mtp_lambda=0.5)
        >>> total, parts = criterion(torch.zeros(2, 5, 4), [torch.zeros(2, 4, 4)], labels=torch.ones(2, 5).long())
        >>> sorted(parts), round(total.item(), 4)  # 1.5 log 4
        (['main_loss', 'mtp_loss_1', 'total_loss'], 2.0794)

    Source: DeepSeek-V3 technical report, section 2.2; depth_weighting.py says where families differ.
    """

    def __init__(
        self,
        vocab_size: int,
        mtp_depth: int = 1,
        mtp_lambda: float | Sequence[float] = 0.3,
        ignore_index: int = IGNORE_INDEX,
        label_smoothing: float = 0.0,
        *,
        mtp_reduction: Literal["mean", "sum"] = "mean",
        mtp_denominator: Literal["own", "main"] = "own",
        ids: Word | None = None,
        **options: Unpack[LossTerms],
    ) -> None:
        super().__init__()
        require_known(type(self).__name__, options, LossTerms)
        check_word(ids)
        require_sizes(vocab_size=vocab_size)
        require_sizes(mtp_depth=mtp_depth, least=0)
        checked = LossOptions.checked(label_smoothing=label_smoothing, **options)
        check_choices(ignore_index, None)
        self.vocab_size = vocab_size
        self.mtp_depth = mtp_depth
        self.weighting = DepthWeighting(
            mtp_lambda=mtp_lambda, mtp_reduction=mtp_reduction, mtp_denominator=mtp_denominator
        )
        self.weighting.require_depths(mtp_depth)
        self.ignore_index = ignore_index
        vars(self).update(loss_keywords(checked))  # attributes: they may change as training goes on
        self.ids: Word | None = ids

    def forward(
        self,
        main_logits: Tensor,  # [..., T, V]
        mtp_logits: Sequence[Tensor] | None,  # mtp_depth of [..., T - k, V]
        *by_position: object,
        labels: Tensor | None = None,  # [..., T]
        targets: Tensor | Targets | None = None,  # [..., T]
        document: Tensor | None = None,  # [..., T]
        token_weight: Tensor | None = None,  # [..., T]
        divisor: Tensor | None = None,  # [1 + mtp_depth]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(total, {"main_loss", "mtp_loss_1", .., "total_loss"}), scalars in nats; the dict is detached, for logs.

        Args:
            mtp_logits: `mtp_logits[k - 1][t]` predicts the token 1 + k ahead of position t. The k last positions,
                which have nothing to predict, may be there or not. None: the main loss alone (a head in eval mode).
            labels: or `targets`, of the next token; the further offsets are taken from them.
            divisor: `depth_weights(window, mtp_depth=...)` where this batch is a part of something larger.

        Raises:
            ArgumentError: an argument breaks its rule.
            ArgumentTypeError: ids by position, where the loss was made without `ids`.
        """
        require_kind("main_logits", main_logits, Tensor)
        if mtp_logits is not None:
            require_kind("mtp_logits", mtp_logits, Sequence, "one tensor of logits a depth")
            found = len(mtp_logits)
            require(found == self.mtp_depth, "mtp_logits", f"hold {self.mtp_depth} tensors, one a depth", found)
        labels, targets = named(by_position, self.ids, labels=labels, targets=targets, owner=self)
        chosen = targets_from(
            (),
            labels=labels,
            targets=targets,
            of=main_logits,
            document=document,
            token_weight=token_weight,
            ignore_index=self.ignore_index,
        )
        depths = [main_logits, *(mtp_logits or ())]
        weights = depth_weights(chosen, mtp_depth=len(depths) - 1)
        divisor = divisor_of(divisor, len(depths) - 1)
        sums = [self._sum(logits, k, chosen) for k, logits in enumerate(depths)]
        return self.weighting.combine(sums, self.weighting.divisors(weights, divisor))

    def _sum(self, logits: Tensor, k: int, chosen: Targets) -> Tensor:
        name = "main_logits" if k == 0 else f"mtp_logits[{k - 1}]"
        require_kind(name, logits, Tensor)
        width = logits.shape[-1] if logits.dim() else 0
        require(width == self.vocab_size, name, f"be [..., V], V = {self.vocab_size}", tuple(logits.shape))
        ids, weight = rows_of_depth(name, logits, k, chosen)
        return cross_entropy(
            logits,
            ids,
            token_weight=weight,
            ignore_index=chosen.ignore_index,
            reduction="sum",
            **loss_keywords(self),
        )

    def extra_repr(self) -> str:
        """The options, for `repr`."""
        return (
            f"vocab_size={self.vocab_size}, mtp_depth={self.mtp_depth}, mtp_lambda={self.weighting.mtp_lambda}, "
            f"mtp_reduction={self.weighting.mtp_reduction!r}, mtp_denominator={self.weighting.mtp_denominator!r}"
            f"{'' if self.ids is None else f', ids={self.ids!r}'}"
        )


def multi_token_loss(
    hiddens: Sequence[Tensor],  # 1 + K of [..., T - k, D]
    weight: Tensor,  # [V, D]
    targets: Targets,  # [..., T]
    *,
    bias: Tensor | None = None,  # [V]
    adapter: Adapters = None,
    weighting: DepthWeighting | None = None,
    divisor: Tensor | None = None,  # [1 + K]
    isolated: bool = False,
    against: Against = "labels",
    divergence: Kind | None = None,
    model_ahead: Sequence[Tensor] | None = None,  # K of [..., T, D]
    softcap: float | None = None,
    logit_scale: float = 1.0,
    shard: VocabularyShard | None = None,
    **options: Unpack[MultiTokenKeywords],
) -> tuple[Tensor, list[TokenStatistics]]:
    """(total, statistics of each depth): the depths' losses through ONE head, in one call of the op, without logits.

    Equal to

        sums  = [linear_cross_entropy(hidden, weight, targets.at(1 + k).ids[..., : T - k], reduction="sum")
                 for k, hidden in enumerate(hiddens)]
        total = sums[0] / n_0 + mtp_lambda / K * (sums[1] / n_1 + .. + sums[K] / n_K)

    The rows of all depths are stacked, so the weight's gradient is made once. Per-depth nll, accuracy and counts come
    from the statistics (`TokenMean().add(statistics.nll, statistics.scored)`, or any metric's `update`); where
    mtp_lambda is 0 the extra depths are not computed.

    Args:
        hiddens: the main model's hidden states, then those of depth 1, 2, ..; `hiddens[k][t]` predicts the token
            1 + k ahead of t. The k last positions of a depth may be there or not.
        adapter: LoRA or DoRA on the head, of all depths; one or several `LowRankAdapter`.
        weighting: lambda and the two choices of the normalisation; by default `DepthWeighting()`.
        divisor: `depth_weights(window, mtp_depth=K)` where this batch is a part of something larger.
        isolated: the extra depths give the head no gradient (theirs, and the main one's, is exactly the main loss's),
            in a call of the op of their own. Whoever wants a trunk without their gradient detaches what they read.
        against: what the extra depths learn: "labels", or "model", what the main head says of the same token
            (detached), where the labels are scored, with their weights. label_smoothing and z_loss are of labels.
        divergence: from the model, a kind of `linear_divergence`; "forward_kl" where it is None.
        model_ahead: from the model, with `targets` that are a part of rows (`ContextShard`): its hidden states 1, 2, ..
            tokens behind each, which other ranks may have.
        shard: where `weight` is this rank's rows of a head that is cut over ranks by its vocabulary.
        options: `label_smoothing`, `z_loss`, `ranks`, `top_k`, `memory_budget`, `backend`, as in
            `linear_cross_entropy`.

    Raises:
        ArgumentError: an argument breaks its rule.
        ArgumentTypeError: an argument is of the wrong kind, or there is none of that name.

    Example:
        >>> import torch
        >>> targets = Targets.from_labels(torch.ones(2, 5, dtype=torch.long))
        >>> total, statistics = multi_token_loss([torch.zeros(2, 5, 8)] * 2, torch.zeros(16, 8), targets)
        >>> round(total.item(), 4), len(statistics)  # 1.3 log 16
        (3.6044, 2)
    """
    require_known("multi_token_loss", options, MultiTokenKeywords)
    kind = checked_divergence(against, divergence)
    require_kind("hiddens", hiddens, Sequence, "the main hidden states first, then those of each depth")
    require(len(hiddens) >= 1, "hiddens", "hold the main hidden states first", "none")
    for k, hidden in enumerate(hiddens):
        check_tensor(f"hiddens[{k}]", hidden)
        fits = hidden.shape[-1:] == hiddens[0].shape[-1:]
        require(fits, f"hiddens[{k}]", "have the width of hiddens[0]", tuple(hidden.shape))
    require_kind("targets", targets, Targets, "make it with Targets.from_labels or Targets.from_targets")
    check_head(hiddens[0], weight, bias)
    require_ahead(model_ahead, targets, kind)
    rows = depth_rows(hiddens, targets, weighting_from(weighting), divisor)
    tensors = HeadTensors(weight=weight, bias=bias, adapters=as_tuple(adapter), shard=shard)
    head = HeadLogits(tensors=tensors, softcap=softcap, logit_scale=logit_scale)
    split = 1 if isolated or kind is not None else len(hiddens)  # the depths from here on have a call of their own
    ignored = targets.ignore_index
    total, statistics = depth_losses(hiddens[:split], rows[:split], first=0, head=head, ignore_index=ignored, **options)
    if split == len(hiddens):
        return total, statistics
    further, more = depth_losses(
        hiddens[split:],
        rows[split:],
        first=split,
        head=head.detached() if isolated else head,
        ignore_index=ignored,
        teacher=None if kind is None else Teacher(hidden=hiddens[0], ahead=model_ahead, head=head, kind=kind),
        **options,
    )
    return total + further, statistics + more
