"""Device mesh: how the ranks of a run share its rows, its weights, its vocabulary and its context. Imports no torch.

    dp      replicas of the (sharded) model: each has rows of its own, gradients are averaged over them
    shard   ranks that hold the weights, gradients and optimiser states of one replica between them (FSDP2)
    cp      ranks that hold the tokens of the same rows between them (context parallel)
    tp      ranks that hold the vocabulary of the embedding and of the head between them (tensor parallel)

The last named are neighbours: their ranks differ by 1.
"""

import math
from dataclasses import dataclass
from typing import Final, final

from lmhead.errors import ArgumentError, require
from lmhead.options import option

NAMES: Final = ("dp", "shard", "cp", "tp")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MeshPlan:
    """How many ranks each dimension has."""

    dp: int = 1
    shard: int = 1
    cp: int = 1
    tp: int = 1

    @staticmethod
    def of(text: str | None, size: int) -> "MeshPlan":
        """The plan that `dp=2,shard=4` describes, of `size` ranks. What is not named is 1, but shard: what is left.

        Raises:
            ArgumentError: it is no such list, or does not multiply to `size`.
        """
        given = _parsed(text)
        others = math.prod(count for name, count in given.items() if name != "shard")
        if "shard" not in given and size % others == 0:
            given["shard"] = size // others
        product = math.prod(given.values())
        require(
            product == size,
            option("mesh"),
            f"multiply to the {size} ranks that there are" if size > 1 else "multiply to the 1 rank that there is",
            f"{text} ({product})",
            _remedy(given, size, others),
        )
        return MeshPlan(**given)

    @property
    def size(self) -> int:
        """Ranks."""
        return self.dp * self.shard * self.cp * self.tp

    @property
    def readers(self) -> int:
        """Ranks that read rows of their own; those along cp read the same ones."""
        return self.size // self.cp

    def __str__(self) -> str:
        """As it is given: every dimension that is more than 1."""
        return ",".join(f"{name}={getattr(self, name)}" for name in NAMES if getattr(self, name) > 1) or "shard=1"

    def place(self, rank: int) -> dict[str, int]:
        """Where a rank stands along each dimension."""
        places: dict[str, int] = {}
        for name in reversed(NAMES):
            rank, places[name] = divmod(rank, getattr(self, name))
        return places

    def reader(self, rank: int) -> int:
        """Which of the `readers` a rank is."""
        at = self.place(rank)
        return (at["dp"] * self.shard + at["shard"]) * self.tp + at["tp"]


def _remedy(given: dict[str, int], size: int, others: int) -> str:
    if size == 1:
        return f"take shard=1 for one process, or start as many by {option('nproc')}"
    return "shard, left out, is what is left" if "shard" in given else f"{others} must divide {size}"


def _parsed(text: str | None) -> dict[str, int]:
    given: dict[str, int] = {}
    for part in (text or "").split(",") if text else []:
        name, sign, count = (piece.strip() for piece in part.partition("="))
        right = sign and name in NAMES and name not in given and count.isascii() and count.isdecimal() and int(count)
        if not right:
            rule = f"be a list as dp=2,shard=4, of {', '.join(NAMES)}, each at most once and at least 1"
            raise ArgumentError(f"{option('mesh')} must {rule}, got {text!r}")
        given[name] = int(count)
    return given
