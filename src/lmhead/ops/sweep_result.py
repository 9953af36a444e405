"""What a sweep over the rows leaves, whichever way it goes."""

from dataclasses import dataclass

from torch import Tensor

from lmhead.ops.problem import Solved


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """What one pass over the rows leaves. Rows that are ignored hold 0."""

    solved: Solved  # with the loss of each target [N, K]
    gradients: dict[str, Tensor]  # of the wanted, by name, in their tensors' dtypes
