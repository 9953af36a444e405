"""LoRA's options, without importing torch: rank, alpha, dropout and which layers."""

import math
from dataclasses import dataclass

from lmhead.errors import require
from lmhead.options import option


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraOptions:
    """Low-rank adapters beside frozen matrices: weight + alpha / rank * up @ down (Hu et al. 2021).

    The defaults are those of "LoRA Without Regret" (Schulman et al. 2025): every linear layer, and an alpha that does
    not follow the rank, so that one learning rate, about ten times that of full fine-tuning, does for all ranks.

    Raises:
        ArgumentError: a value breaks its rule.

    Example:
        >>> LoraOptions(rank=8).alpha
        32.0
    """

    rank: int = 16
    alpha: float = 32.0  # what the adapters' product is multiplied with is alpha / rank
    dropout: float = 0.0  # of what the adapters read, in training
    targets: tuple[str, ...] = ()  # names of layers, such as q_proj; none: every linear layer but the head

    def __post_init__(self) -> None:
        require(isinstance(self.rank, int) and self.rank >= 1, option("rank"), "be an integer >= 1", repr(self.rank))
        require(0 < self.alpha < math.inf, option("alpha"), "be finite and > 0", self.alpha)
        require(0 <= self.dropout < 1, option("dropout"), "be in [0, 1)", self.dropout)
        require(
            type(self.targets) is tuple and all(isinstance(name, str) and name for name in self.targets),
            option("targets"),
            "be a tuple of names of layers",
            repr(self.targets),
            "('q_proj', 'v_proj') say",
        )
