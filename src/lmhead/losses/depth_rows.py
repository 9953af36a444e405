"""DepthRows: what the hidden states, or logits, of one depth of multi-token prediction have to predict."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from lmhead.errors import require, require_kind
from lmhead.labels.targets import Targets
from lmhead.losses.depth_weighting import DepthWeighting, reciprocal
from lmhead.losses.token_mean import depth_weights
from lmhead.ops.checks import require_wide


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthRows:
    """Of each position of one depth: the token, and what its loss is multiplied with in the total."""

    ids: Tensor  # [..., T'] int64, ignore_index where nothing is scored
    coefficient: Tensor  # [..., T'] float64, 0 there


def depth_rows(
    hiddens: Sequence[Tensor],  # 1 + K of [..., T', D]
    targets: Targets,  # [..., T]
    weighting: DepthWeighting,
    divisor: Tensor | None,  # [1 + K]
) -> list[DepthRows]:
    """Of the main hidden states and of each depth's: summed, coefficient * loss is the total.

    Raises:
        ArgumentError: shapes, or the numbers of a weighting, do not fit the depths.
    """
    rows = [rows_of_depth(f"hiddens[{k}]", hidden, k, targets) for k, hidden in enumerate(hiddens)]
    divisors = weighting.divisors(depth_weights(targets, mtp_depth=len(hiddens) - 1), divisor)
    coefficients = divisors.new_tensor(weighting.coefficients(len(hiddens) - 1)) * reciprocal(divisors)
    return [
        DepthRows(ids=ids, coefficient=coefficient * (ids != targets.ignore_index if weight is None else weight))
        for coefficient, (ids, weight) in zip(coefficients.unbind(), rows, strict=True)
    ]


def rows_of_depth(name: str, states: Tensor, k: int, targets: Targets) -> tuple[Tensor, Tensor | None]:
    """(ids, weight) [..., T'] that depth k's logits or hidden states [..., T', _] have to predict, T - k <= T' <= T.

    Raises:
        ArgumentError: `states` has other leading dimensions.
    """
    require_kind(name, states, Tensor)
    *leading, T = targets.shape
    length = states.shape[-2] if states.dim() >= 2 else -1
    fits = list(states.shape[:-2]) == leading and max(T - k, 0) <= length <= T
    require(fits, name, f"be {[*leading, max(T - k, 0)]} + [width]", list(states.shape), f"T = {T}, {k} cut at the end")
    ahead = targets.at(1 + k)
    if ahead.weight is not None:
        require_wide("token_weight", ahead.weight)
    return ahead.ids[..., :length], None if ahead.weight is None else ahead.weight[..., :length]
