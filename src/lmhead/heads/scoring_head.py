"""ScoringHead, what every head does with what it multiplies: the loss and the log-probabilities, without the logits.

They are methods of the head because the weight is used there: what gathers it (FSDP2: fully_sharded.py) is run around
them, and nobody takes the weight out of its module.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypedDict, Unpack, overload

import torch
from torch import Tensor, nn

from lmhead.errors import IGNORE_INDEX, require, require_kind
from lmhead.heads.fully_sharded import gathered
from lmhead.heads.hooks import refuse_late_hooks, run_early_hooks
from lmhead.heads.tensor_parallel import held_by_rank, whole_states
from lmhead.labels.labels_or_targets import targets_from
from lmhead.labels.targets import Targets
from lmhead.losses.depth_divergence import Against
from lmhead.losses.depth_losses import Teacher, depth_losses
from lmhead.losses.depth_rows import DepthRows
from lmhead.losses.depth_weighting import DepthWeighting
from lmhead.losses.head_tensors import HeadLogits, HeadTensors
from lmhead.losses.multi_token import multi_token_loss
from lmhead.ops.adapter import Adapters, as_tuple
from lmhead.ops.checks import check_head_options, check_tensor
from lmhead.ops.divergence.problem import Kind
from lmhead.ops.keywords import HeadLossKeywords, MultiTokenKeywords, RunKeywords, require_known
from lmhead.ops.linear_cross_entropy import linear_cross_entropy
from lmhead.ops.logprobs import TokenLogprobs, token_logprobs
from lmhead.ops.problem import TokenStatistics
from lmhead.ops.sharded.vocabulary_shard import VocabularyShard

LOGITS = "take the loss of its logits, lmhead.causal_lm_loss(head(hidden), labels)"


class _HeadKeywords(TypedDict):
    bias: Tensor | None
    adapter: Adapters
    softcap: float | None
    logit_scale: float
    shard: VocabularyShard | None


class ScoringHead(nn.Module, ABC):
    """A head whose `tensors` are all that its losses need to know.

    Args:
        softcap: logits are softcap * tanh(logits / softcap) (Gemma 2); None is off.
        logit_scale: what logits are multiplied with, before the cap (Cohere, Granite).
    """

    own_rows: bool = False  # the weight is cut over ranks, and each has hidden states of its own

    def __init__(self, *, softcap: float | None, logit_scale: float) -> None:
        super().__init__()
        check_head_options(softcap, logit_scale, None)
        self.softcap = softcap
        self.logit_scale = logit_scale

    def tensors(
        self,
        hidden: Tensor | None = None,  # [..., D]
        adapter: Adapters = None,
    ) -> HeadTensors:
        """What `self(hidden)` would multiply hidden states with now: asked for at each loss, so it may change.

        Hooks of the head that make its weight are run, as that call would run them. Of a tensor-parallel weight, a
        DTensor cut by rows over a mesh of one dimension, they are this rank's rows.

        Args:
            hidden: for hooks that look at it.
            adapter: further ones, behind the head's own.

        Raises:
            ArgumentError: a hook that changes the input or the output, or one that needs hidden states, without them.
        """
        refuse_late_hooks(self, name="head", remedy=LOGITS)
        run_early_hooks(self, None if hidden is None else (hidden,), name="head", remedy=LOGITS)
        return held_by_rank(self._tensors(hidden), as_tuple(adapter), own_rows=self.own_rows)

    def logits_of(self, hidden: Tensor | None = None) -> HeadLogits:
        """`tensors`, and what this head does to their product: all that the loss of a depth needs of a head.

        Args:
            hidden: [..., D], for hooks that look at it.
        """
        return HeadLogits(tensors=self.tensors(hidden), softcap=self.softcap, logit_scale=self.logit_scale)

    @abstractmethod
    def _tensors(self, hidden: Tensor | None) -> HeadTensors:
        """What hidden states are multiplied with now, the head's own hooks having been run."""

    def capped(self, logits: Tensor) -> Tensor:
        """The logits [..., V], scaled and capped."""
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
        adapter: Adapters = None,
        return_stats: Literal[False] = False,
        **options: Unpack[HeadLossKeywords],
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
        adapter: Adapters = None,
        return_stats: Literal[True],
        **options: Unpack[HeadLossKeywords],
    ) -> tuple[Tensor, TokenStatistics]: ...

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
        adapter: Adapters = None,
        return_stats: Literal["nll"],
        **options: Unpack[HeadLossKeywords],
    ) -> tuple[Tensor, Tensor]: ...

    @gathered
    def loss(
        self,
        hidden: Tensor,  # [..., D]
        *misplaced: object,
        labels: Tensor | None = None,  # [...]
        targets: Tensor | Targets | None = None,  # [...]
        document: Tensor | None = None,  # [...]
        token_weight: Tensor | None = None,  # [...]
        ignore_index: int = IGNORE_INDEX,
        adapter: Adapters = None,
        return_stats: bool | Literal["nll"] = False,
        **options: Unpack[HeadLossKeywords],
    ) -> Tensor | tuple[Tensor, TokenStatistics] | tuple[Tensor, Tensor]:
        """The loss of the next token in nats, without logits: `linear_cross_entropy` with this head's weight.

        A scalar, or with reduction="none" the shape of the ids; as is each of the statistics.

        Args:
            labels: aligned with the inputs, shifted here; or `targets`, shifted already, a Tensor or a `Targets`.
            document: of each position; nothing is scored across a change, negative is padding. A Targets has its own.
            token_weight: aligned with whichever ids are given.
            adapter: LoRA or DoRA beside what the head has itself; one or several `LowRankAdapter`.
            return_stats: also return TokenStatistics, from the same pass; with `ranks=True`, each target's rank too;
                with `top_k=k`, the k most probable tokens of each position. "nll": each token's nll alone.
            options: `class_weight`, `label_smoothing`, `z_loss`, `reduction`, `divisor`, `ranks`, `top_k`,
                `memory_budget`, `backend`, as in `linear_cross_entropy`.

        Raises:
            ArgumentError: both `labels` and `targets` or neither, or an argument breaks its rule.
            ArgumentTypeError: ids by position, or an option that there is not.
        """
        require_known(f"{type(self).__name__}.loss", options, HeadLossKeywords)
        hidden, own = self._states_and_tensors(hidden, adapter)
        chosen = _chosen(hidden, own, misplaced, labels, targets, document, token_weight, ignore_index)
        head = self._of_head(own)
        ids, weight, ignored = chosen.ids, chosen.weight, chosen.ignore_index
        if return_stats == "nll":
            return linear_cross_entropy(
                hidden,
                own.weight,
                ids,
                token_weight=weight,
                ignore_index=ignored,
                return_stats="nll",
                **head,
                **options,
            )
        if return_stats:
            return linear_cross_entropy(
                hidden, own.weight, ids, token_weight=weight, ignore_index=ignored, return_stats=True, **head, **options
            )
        return linear_cross_entropy(
            hidden, own.weight, ids, token_weight=weight, ignore_index=ignored, **head, **options
        )

    @gathered
    def multi_token_loss(
        self,
        hiddens: Sequence[Tensor],  # 1 + K of [..., T - k, D]
        *misplaced: object,
        labels: Tensor | None = None,  # [..., T]
        targets: Tensor | Targets | None = None,  # [..., T]
        document: Tensor | None = None,  # [..., T]
        token_weight: Tensor | None = None,  # [..., T]
        ignore_index: int = IGNORE_INDEX,
        adapter: Adapters = None,
        weighting: DepthWeighting | None = None,
        divisor: Tensor | None = None,  # [1 + K]
        isolated: bool = False,
        against: Against = "labels",
        divergence: Kind | None = None,
        model_ahead: Sequence[Tensor] | None = None,  # K of [..., T, D]
        **options: Unpack[MultiTokenKeywords],
    ) -> tuple[Tensor, list[TokenStatistics]]:
        """(total [], statistics of each depth) where all depths share this head; see `lmhead.multi_token_loss`.

        Args:
            isolated: the extra depths give the head no gradient.
            against, divergence, model_ahead: the extra depths learn the labels, or what this head says of the token.
            options: `label_smoothing`, `z_loss`, `ranks`, `top_k`, `memory_budget`, `backend`, as in
                `linear_cross_entropy`.

        Raises:
            ArgumentError: both `labels` and `targets` or neither, or an argument breaks its rule.
            ArgumentTypeError: ids by position, or an option that there is not.
        """
        require_known(f"{type(self).__name__}.multi_token_loss", options, MultiTokenKeywords)
        require_kind("hiddens", hiddens, Sequence, "the main hidden states first, then those of each depth")
        require(len(hiddens) >= 1, "hiddens", "hold the main hidden states first", "none")
        require_kind("hiddens[0]", hiddens[0], Tensor)
        hiddens, own = whole_states(hiddens, self.tensors(hiddens[0], adapter))
        check_tensor("hiddens[0]", hiddens[0])
        chosen = _chosen(hiddens[0], own, misplaced, labels, targets, document, token_weight, ignore_index)
        return multi_token_loss(
            hiddens,
            own.weight,
            chosen,
            weighting=weighting,
            divisor=divisor,
            isolated=isolated,
            against=against,
            divergence=divergence,
            model_ahead=model_ahead,
            **self._of_head(own),
            **options,
        )

    @gathered
    def token_logprobs(
        self,
        hidden: Tensor,  # [..., D]
        *misplaced: object,
        labels: Tensor | None = None,  # [...]
        targets: Tensor | Targets | None = None,  # [...]
        document: Tensor | None = None,  # [...]
        ignore_index: int = IGNORE_INDEX,
        adapter: Adapters = None,
        temperature: float = 1.0,
        entropy: bool = False,
        **options: Unpack[RunKeywords],
    ) -> TokenLogprobs:
        """Each position's log-probability of the token to predict FROM it, in nats; `token_logprobs` with this head.

        Given labels, `logprobs[t]` is that of `labels[t + 1]`; the last position of a row holds 0, as all that are
        ignored do.

        Args:
            options: `memory_budget`, `backend`, as in `linear_cross_entropy`.

        Raises:
            ArgumentError: both `labels` and `targets` or neither, or an argument breaks its rule.
            ArgumentTypeError: ids by position, or an option that there is not.
        """
        require_known(f"{type(self).__name__}.token_logprobs", options, RunKeywords)
        hidden, own = self._states_and_tensors(hidden, adapter)
        chosen = _chosen(hidden, own, misplaced, labels, targets, document, None, ignore_index)
        return token_logprobs(
            hidden,
            own.weight,
            chosen.ids,
            temperature=temperature,
            entropy=entropy,
            ignore_index=chosen.ignore_index,
            **self._of_head(own),
            **options,
        )

    @gathered
    def depth_loss(
        self,
        hidden: Tensor,  # [..., T, D]
        rows: DepthRows,  # of the same positions
        *,
        first: int,
        ignore_index: int,
        teacher: Teacher | None = None,
        **options: Unpack[MultiTokenKeywords],
    ) -> tuple[Tensor, TokenStatistics]:
        """(the sum [] of coefficient * loss in nats, statistics) of one depth of multi-token prediction by this head.

        Args:
            first: the depth; 0 is the next token.
            teacher: the loss is the divergence from it.
        """
        head = self.logits_of(hidden)
        states, own = whole_states([hidden], head.tensors)
        head = replace(head, tensors=own)
        loss, (statistics,) = depth_losses(
            states, [rows], first=first, head=head, ignore_index=ignore_index, teacher=teacher, **options
        )
        return loss, statistics

    def _states_and_tensors(self, hidden: Tensor, adapter: Adapters) -> tuple[Tensor, HeadTensors]:
        require_kind("hidden", hidden, Tensor)
        (hidden,), own = whole_states([hidden], self.tensors(hidden, adapter))
        check_tensor("hidden", hidden)
        return hidden, own

    def _of_head(self, own: HeadTensors) -> _HeadKeywords:
        """What the op has to know of this head beside its weight."""
        return {
            "bias": own.bias,
            "adapter": own.adapters,
            "softcap": self.softcap,
            "logit_scale": self.logit_scale,
            "shard": own.shard,
        }


def _chosen(
    hidden: Tensor,
    own: HeadTensors,
    misplaced: tuple[object, ...],
    labels: Tensor | None,
    targets: Tensor | Targets | None,
    document: Tensor | None,
    token_weight: Tensor | None,
    ignore_index: int,
) -> Targets:
    width, D = hidden.shape[-1] if hidden.dim() else 0, own.weight.shape[-1]
    require(width == D, "hidden", f"be [..., D] with D = {D}", tuple(hidden.shape))
    return targets_from(
        misplaced,
        labels=labels,
        targets=targets,
        of=hidden,
        document=document,
        token_weight=token_weight,
        ignore_index=ignore_index,
    )
