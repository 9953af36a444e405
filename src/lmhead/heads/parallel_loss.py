"""The loss of a main head and of parallel heads beside it (parallel_multi_token.py), all on the same hidden states."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Unpack

from torch import Tensor

from lmhead.errors import require_kind
from lmhead.heads.parallel_multi_token import MultiTokenPredictionHead
from lmhead.heads.scoring_head import ScoringHead
from lmhead.heads.tensor_parallel import whole_states
from lmhead.labels.targets import Targets
from lmhead.losses.depth_divergence import Against, checked_divergence, require_ahead
from lmhead.losses.depth_losses import Teacher
from lmhead.losses.depth_rows import depth_rows
from lmhead.losses.depth_weighting import DepthWeighting, weighting_from
from lmhead.ops.divergence.problem import Kind
from lmhead.ops.keywords import MultiTokenKeywords, require_known
from lmhead.ops.problem import TokenStatistics


def parallel_multi_token_loss(
    main: ScoringHead,
    mtp: MultiTokenPredictionHead,
    hidden: Tensor,  # [..., T, D]
    *,
    targets: Targets,  # [..., T]
    weighting: DepthWeighting | None = None,
    divisor: Tensor | None = None,  # [1 + K]
    isolated: bool = False,
    against: Against = "labels",
    divergence: Kind | None = None,
    model_ahead: Sequence[Tensor] | None = None,  # K of [..., T, D]
    **options: Unpack[MultiTokenKeywords],
) -> tuple[Tensor, list[TokenStatistics]]:
    """(the total in nats, statistics of the main head and of each depth), as `ScoringHead.multi_token_loss` gives it.

    Each head has a weight of its own, so each is a call of the op; of one whose lambda is 0 nothing is computed.

    Args:
        isolated: the extra heads give the hidden states no gradient.
        options: `label_smoothing`, `z_loss`, `ranks`, `top_k`, `memory_budget`, `backend`, as in
            `linear_cross_entropy`.

    Raises:
        ArgumentError: an argument breaks its rule.
        ArgumentTypeError: an argument is of the wrong kind, or there is none of that name.
    """
    require_known("parallel_multi_token_loss", options, MultiTokenKeywords)
    kind = checked_divergence(against, divergence)
    require_kind("targets", targets, Targets, "make it with Targets.from_labels or Targets.from_targets")
    require_ahead(model_ahead, targets, kind)
    rows = depth_rows([hidden] * (1 + mtp.mtp_depth), targets, weighting_from(weighting), divisor)
    ignored = targets.ignore_index
    total, of_main = main.depth_loss(hidden, rows[0], first=0, ignore_index=ignored, **options)
    statistics = [of_main]
    teacher = None if kind is None else _teacher(main, hidden.detach(), model_ahead, kind)
    read = hidden.detach() if isolated else hidden
    for loss, of_depth in mtp.weighted_losses(read, rows[1:], ignore_index=ignored, teacher=teacher, **options):
        total = total + loss
        statistics.append(of_depth)
    return total, statistics


def _teacher(main: ScoringHead, hidden: Tensor, model_ahead: Sequence[Tensor] | None, kind: Kind) -> Teacher:
    head = main.logits_of(hidden)
    (states,), own = whole_states([hidden], head.tensors)
    return Teacher(hidden=states, ahead=model_ahead, head=replace(head, tensors=own), kind=kind)
