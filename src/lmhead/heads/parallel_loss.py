"""The loss of a main head and of parallel heads beside it (parallel_multi_token.py), all on the same hidden states."""

from typing import Unpack

from torch import Tensor

from lmhead.errors import require_kind
from lmhead.heads.parallel_multi_token import MultiTokenPredictionHead
from lmhead.heads.scoring_head import ScoringHead
from lmhead.heads.tensor_parallel import whole_states
from lmhead.labels.targets import Targets
from lmhead.losses.depth_divergence import Against, checked_divergence
from lmhead.losses.depth_losses import Teacher, depth_losses
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
    require_kind("hidden", hidden, Tensor)
    head = main.logits_of(hidden)
    (hidden,), _ = whole_states([hidden], head.tensors, scattered=False)
    rows = depth_rows([hidden] * (1 + mtp.mtp_depth), targets, weighting_from(weighting), divisor)
    ignored = targets.ignore_index
    total, statistics = depth_losses([hidden], rows[:1], first=0, head=head, ignore_index=ignored, **options)
    teacher = None if kind is None else Teacher(hidden=hidden, head=head, kind=kind)
    read = hidden.detach() if isolated else hidden
    for loss, of_depth in mtp.weighted_losses(read, rows[1:], ignore_index=ignored, teacher=teacher, **options):
        total = total + loss
        statistics.append(of_depth)
    return total, statistics
