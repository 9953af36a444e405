"""MultiTokenModel: a causal language model with the modules, or the heads, of multi-token prediction beside its head.

ids -> main's trunk -> hidden  --------------- head -> the next token           what any CausalLM is asked for
                          '-> mtp: K depths -- head -> the tokens after it      multi_token_loss, and drafts
"""

from collections.abc import Mapping
from typing import Any, Literal, Self, Unpack, final

import torch
from torch import Tensor

from lmhead.errors import ArgumentTypeError, require, require_choice, require_kind
from lmhead.heads.parallel_loss import parallel_multi_token_loss
from lmhead.heads.parallel_multi_token import MultiTokenPredictionHead
from lmhead.heads.scoring_head import ScoringHead
from lmhead.labels.targets import Targets
from lmhead.losses.depth_divergence import Against
from lmhead.losses.depth_weighting import DepthWeighting, reciprocal
from lmhead.losses.head_tensors import HeadLogits
from lmhead.losses.token_mean import depth_weights
from lmhead.models.causal_lm import CausalLM, Reader
from lmhead.models.multi_token.predictor import MultiTokenPredictor
from lmhead.models.multi_token.style import KINDS, Kind, MultiTokenStyle
from lmhead.models.multi_token.trunk import Backbone
from lmhead.ops.checks import require_sizes
from lmhead.ops.divergence.problem import Kind as DivergenceKind
from lmhead.ops.keywords import ModelLossKeywords, MultiTokenKeywords
from lmhead.ops.problem import TokenStatistics


@final
class MultiTokenModel(CausalLM):
    """`main` with `mtp` behind it. As a CausalLM it is `main`: its loss, its context, its reader.

    Args:
        isolated: the loss of the further tokens trains `mtp` alone: the gradient that it gives to trunk, embedding and
            head is exactly 0.

    Raises:
        ArgumentError: `mtp` is for hidden states of another width.
        ArgumentTypeError: `main` is no Backbone, or `mtp` none of the two.
    """

    def __init__(
        self, main: Backbone, mtp: MultiTokenPredictor | MultiTokenPredictionHead, *, isolated: bool = False
    ) -> None:
        super().__init__()
        require_kind("main", main, Backbone)
        if not isinstance(mtp, MultiTokenPredictor | MultiTokenPredictionHead):
            raise ArgumentTypeError(
                f"mtp must be a MultiTokenPredictor or a MultiTokenPredictionHead, got {type(mtp).__name__}"
            )
        if isinstance(mtp, MultiTokenPredictor):
            require(mtp.d_model == main.width, "mtp", f"be of d_model {main.width}, the width of main", mtp.d_model)
        self.main, self.mtp, self.isolated = main, mtp, isolated

    @classmethod
    def behind(
        cls,
        main: Backbone,
        *,
        depth: int = 1,
        kind: Kind = "sequential",
        style: MultiTokenStyle | None = None,
        isolated: bool = False,
    ) -> Self:
        """`main` with freshly drawn modules of its own kind behind it, on its device and in its dtype.

        Args:
            style: None: that of the family whose modules suit `main`; parallel heads do without.

        Raises:
            ArgumentError: the depth is no size, or beyond what the model reads at once.
            ArgumentTypeError: `main` is no Backbone.
        """
        require_kind("main", main, Backbone)
        require_choice("kind", kind, KINDS)
        require_sizes(depth=depth)
        context = main.max_seq_len
        require(depth < context, "depth", f"be less than the {context} tokens that the model reads at most", depth)
        mtp: MultiTokenPredictor | MultiTokenPredictionHead
        if kind == "parallel":
            mtp = MultiTokenPredictionHead(main.width, main.vocab_size, depth)
        else:
            recurrent = kind == "recurrent"
            style = main.module_style(kind=kind, depth=depth) if style is None else style
            mtp = MultiTokenPredictor(
                main.width, depth=depth, block=main.new_block, norm=main.new_norm, style=style, recurrent=recurrent
            )
        main.draw(mtp)
        like = next(main.parameters())
        return cls(main, mtp.to(device=like.device, dtype=like.dtype), isolated=isolated)

    @classmethod
    def restored(
        cls, main: Backbone, state: Mapping[str, Tensor], *, depth: int, kind: Kind, style: MultiTokenStyle
    ) -> Self:
        """`main` with modules that were there before behind it; torch's generator stays where it is.

        Args:
            state: of `mtp`.

        Raises:
            ArgumentError, ArgumentTypeError: as of `behind`.
            RuntimeError: the state is of other modules.
        """
        with torch.random.fork_rng(devices=[]):  # what is drawn is overwritten
            model = cls.behind(main, depth=depth, kind=kind, style=style)
        model.mtp.load_state_dict(state)
        return model

    @property
    def style(self) -> MultiTokenStyle:
        """How the modules are wired; of parallel heads, which are not, the usual."""
        return self.mtp.style if isinstance(self.mtp, MultiTokenPredictor) else MultiTokenStyle()

    @property
    def kind(self) -> Kind:
        """Which of the three kinds `mtp` is."""
        if isinstance(self.mtp, MultiTokenPredictionHead):
            return "parallel"
        return "recurrent" if self.mtp.recurrent else "sequential"

    @property
    def depth(self) -> int:
        """K: tokens beyond the next one that are predicted."""
        return self.mtp.depth if isinstance(self.mtp, MultiTokenPredictor) else self.mtp.mtp_depth

    @property
    def most_drafts(self) -> int | None:
        """How many tokens can be drafted in a row: as many as there are modules or heads; None: any number, by one."""
        one = isinstance(self.mtp, MultiTokenPredictor) and len(self.mtp.layers) == 1
        return None if one else self.depth

    @property
    def vocab_size(self) -> int:
        """V: rows of the head."""
        return self.main.vocab_size

    @property
    def max_seq_len(self) -> int:
        """Tokens that the model can read at most, the context."""
        return self.main.max_seq_len

    @property
    def lm_head(self) -> ScoringHead:
        """The main head."""
        return self.main.scoring_head

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`; a `main` that learns nothing stays as it is when it writes, without dropout."""
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.main.parameters()):
            self.main.eval()
        return self

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        """What `main` gives."""
        return self.main(*arguments, **keywords)

    def _loss(
        self,
        ids: Tensor,
        targets: Tensor | Targets,
        document: Tensor | None,
        return_stats: bool | Literal["nll"],
        options: ModelLossKeywords,
    ) -> Tensor | tuple[Tensor, TokenStatistics] | tuple[Tensor, Tensor]:
        return self.main._loss(ids, targets, document, return_stats, options)

    def hidden_and_head(
        self,
        ids: Tensor,  # [B, T]
        *,
        document: Tensor | None = None,  # [B, T]
    ) -> tuple[Tensor, HeadLogits]:
        """(final hidden states [B, T, D], the head as it is now), of `main`."""
        return self.main.hidden_and_head(ids, document=document)

    def reader(self, room: int) -> Reader:
        """A Reader of one row, with room for so many ids (at most `max_seq_len`)."""
        return self.main.reader(room)

    def multi_token_loss(
        self,
        ids: Tensor,  # [B, T]
        targets: Targets,  # [B, T]
        *,
        document: Tensor | None = None,  # [B, T]
        weighting: DepthWeighting | None = None,
        divisor: Tensor | None = None,  # [1 + K]
        against: Against = "labels",
        divergence: DivergenceKind | None = None,
        **options: Unpack[MultiTokenKeywords],
    ) -> tuple[Tensor, list[TokenStatistics]]:
        """(the total loss [] in nats, statistics of the main head and of each depth); no logits are made.

        Args:
            targets: of the next token; the further ones are taken from them, so weights and reasons hold at each depth.
            document: the number of each position's document in a packed row. Attention stays within a document.
            weighting: lambda and the two choices of the normalisation; where it is None lambda is 0.3 and the
                denominator that of `mtp`'s style.
            divisor: `depth_weights(window, mtp_depth=K)` where this batch is a part of something larger.
            against: what the further tokens' loss compares with: "labels", or "model": what the main head says of the
                same token, detached, wherever the labels are scored. The statistics are of the labels either way.
            divergence: from the model: "forward_kl" (where it is None), "reverse_kl", "jensen_shannon" or
                "total_variation".
            options: label_smoothing, z_loss, ranks, top_k, memory_budget, backend, as in `linear_cross_entropy`.

        Raises:
            ArgumentError: an argument breaks its rule, or a row has no more tokens than there are depths.
            ArgumentTypeError: an argument is of the wrong kind.
        """
        require_kind("ids", ids, Tensor)
        require_kind("targets", targets, Targets, "make it with Targets.from_labels or Targets.from_targets")
        T = ids.shape[-1] if ids.dim() else 0
        require(self.depth < T, "depth", f"be less than the T = {T} tokens of a row", self.depth)
        trunk = self.main.trunk_for(ids, targets, document=document, depth=self.depth)
        model_ahead = None
        if trunk.part is not None:  # of several that ranks share: a mean is over all of them
            divisor = depth_weights(targets, mtp_depth=self.depth) if divisor is None else divisor
            targets = trunk.part.targets
            model_ahead = trunk.part.ahead(trunk.hidden) if against == "model" else None
        if isinstance(self.mtp, MultiTokenPredictionHead):
            total, statistics = parallel_multi_token_loss(
                self.lm_head,
                self.mtp,
                trunk.hidden,
                targets=targets,
                weighting=weighting,
                divisor=divisor,
                isolated=self.isolated,
                against=against,
                divergence=divergence,
                model_ahead=model_ahead,
                **options,
            )
        else:
            total, statistics = self.lm_head.multi_token_loss(
                [trunk.hidden, *self.mtp.behind(trunk.detached() if self.isolated else trunk)],
                targets=targets,
                weighting=weighting or DepthWeighting(mtp_denominator=self.mtp.style.denominator),
                divisor=divisor,
                isolated=self.isolated,
                against=against,
                divergence=divergence,
                model_ahead=model_ahead,
                **options,
            )
        if trunk.added is not None:  # it counts as much as these tokens do among those of a window
            share = 1.0 if divisor is None else depth_weights(targets, mtp_depth=0)[0] * reciprocal(divisor[0])
            total = total + (trunk.added * share).to(total.dtype)
        return total, statistics if trunk.part is None else [trunk.part.whole(each) for each in statistics]
