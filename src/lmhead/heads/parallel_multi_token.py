"""One linear head for each further offset: the parallel kind of multi-token prediction (Medusa's).

    hidden [.., T, D] --- main head ---> the token at t + 1        LanguageModelingHead
                     |--- heads[0] ----> the token at t + 2        here
                     '--- heads[1] ----> the token at t + 3

Not here: the sequential kind of DeepSeek-V3, where depth k also sees the tokens in between and shares the main head.
"""

from collections.abc import Sequence
from typing import Unpack, cast

import torch
from torch import Tensor, nn

from lmhead.errors import IGNORE_INDEX, require, require_kind
from lmhead.heads.fully_sharded import gathered
from lmhead.heads.hooks import refuse_late_hooks, run_early_hooks
from lmhead.heads.language_modeling import LanguageModelingHead
from lmhead.heads.scoring_head import LOGITS, ScoringHead
from lmhead.labels.labels_or_targets import targets_from
from lmhead.labels.targets import Targets
from lmhead.losses.depth_losses import Teacher
from lmhead.losses.depth_rows import DepthRows, rows_of_depth
from lmhead.ops.checks import require_sizes
from lmhead.ops.keywords import MultiTokenKeywords, OpKeywords, require_known
from lmhead.ops.problem import TokenStatistics


class MultiTokenPredictionHead(nn.Module):
    """`heads[k - 1]` predicts the token 1 + k ahead; each has a weight of its own (V x D more parameters a depth).

    A depth's head can be replaced by a `WrappedHead` of a layer that PEFT adapts.

    Raises:
        ArgumentError: a size is under 1.

    Example:
        >>> head = MultiTokenPredictionHead(8, 16, mtp_depth=2)
        >>> [tuple(logits.shape) for logits in head([torch.zeros(2, 5, 8), torch.zeros(2, 5, 8)])]
        [(2, 4, 16), (2, 3, 16)]

    Source: Cai et al., "Medusa" (2024); Gloeckle et al., "Better & Faster LLMs via Multi-token Prediction" (2024).
    """

    heads: nn.ModuleList

    def __init__(
        self,
        d_model: int,
        vocab_size: int,
        mtp_depth: int = 1,
        bias: bool = False,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        require_sizes(mtp_depth=mtp_depth)
        self.mtp_depth = mtp_depth
        self.heads = nn.ModuleList(
            LanguageModelingHead(d_model, vocab_size, bias=bias, tie_weights=False, device=device, dtype=dtype)
            for _ in range(mtp_depth)
        )

    def forward(self, hiddens: Sequence[Tensor] | Tensor) -> list[Tensor]:
        """Logits [..., T - k, V] for k = 1 .. mtp_depth: the k last positions have nothing that far ahead.

        Args:
            hiddens: mtp_depth tensors [..., T, D], or one that all depths read.

        Raises:
            ArgumentError: there is another number of them.
        """
        states = self._per_depth(hiddens)
        return [head(_cut(hidden, k)) for k, (head, hidden) in enumerate(zip(self.heads, states, strict=True), 1)]

    @gathered
    def losses(
        self,
        hiddens: Sequence[Tensor] | Tensor,  # mtp_depth of [..., T, D], or one
        *misplaced: object,
        labels: Tensor | None = None,  # [..., T]
        targets: Tensor | Targets | None = None,  # [..., T]
        document: Tensor | None = None,  # [..., T]
        token_weight: Tensor | None = None,  # [..., T]
        ignore_index: int = IGNORE_INDEX,
        **options: Unpack[OpKeywords],
    ) -> list[Tensor]:
        """Each depth's SUMMED loss [] in nats, without logits; `DepthWeighting().combine` makes one loss of them.

        Args:
            labels: or `targets`, of the next token; the further offsets are taken from them.
            options: `label_smoothing`, `z_loss`, `memory_budget`, `backend`, as in `linear_cross_entropy`.

        Raises:
            ArgumentError: both `labels` and `targets` or neither, or an argument breaks its rule.
            ArgumentTypeError: ids by position, or an option that there is not.
        """
        require_known(f"{type(self).__name__}.losses", options, OpKeywords)
        refuse_late_hooks(self, name="head", remedy=LOGITS)
        run_early_hooks(self, (hiddens,), name="head", remedy=LOGITS)
        states = self._per_depth(hiddens)
        chosen = targets_from(
            misplaced,
            labels=labels,
            targets=targets,
            of=states[0],
            document=document,
            token_weight=token_weight,
            ignore_index=ignore_index,
        )
        sums = []
        for k, (head, hidden) in enumerate(zip(self.heads, states, strict=True), 1):
            cut = _cut(hidden, k)
            ids, weight = rows_of_depth(f"hiddens[{k - 1}]", cut, k, chosen)
            loss = cast(ScoringHead, head).loss(
                cut,
                targets=ids,
                token_weight=weight,
                ignore_index=chosen.ignore_index,
                reduction="sum",
                **options,
            )
            sums.append(loss)
        return sums

    @gathered
    def weighted_losses(
        self,
        hidden: Tensor,  # [..., T, D], of all depths
        rows: Sequence[DepthRows],  # of each
        *,
        ignore_index: int = IGNORE_INDEX,
        teacher: Teacher | None = None,
        **options: Unpack[MultiTokenKeywords],
    ) -> list[tuple[Tensor, TokenStatistics]]:
        """(the sum [] of coefficient * loss in nats, statistics) of each depth.

        Args:
            teacher: the losses are divergences from it.
        """
        refuse_late_hooks(self, name="head", remedy=LOGITS)
        run_early_hooks(self, (hidden,), name="head", remedy=LOGITS)
        return [
            cast(ScoringHead, head).depth_loss(
                hidden, of, first=k, ignore_index=ignore_index, teacher=teacher, **options
            )
            for k, (head, of) in enumerate(zip(self.heads, rows, strict=True), 1)
        ]

    def _per_depth(self, hiddens: Sequence[Tensor] | Tensor) -> list[Tensor]:
        if not isinstance(hiddens, Tensor):
            require_kind("hiddens", hiddens, Sequence, "one tensor a depth, or one that all depths read")
        states = [hiddens] * self.mtp_depth if isinstance(hiddens, Tensor) else list(hiddens)
        require(len(states) == self.mtp_depth, "hiddens", f"hold {self.mtp_depth} tensors, one a depth", len(states))
        for k, hidden in enumerate(states):
            require_kind(f"hiddens[{k}]", hidden, Tensor)
            require(hidden.dim() >= 2, f"hiddens[{k}]", "be [..., T, D]", tuple(hidden.shape))
        return states


def _cut(hidden: Tensor, k: int) -> Tensor:
    """The positions [..., T - k, D] that have something k + 1 tokens ahead of them or just lack one."""
    return hidden[..., : max(hidden.shape[-2] - k, 0), :]
