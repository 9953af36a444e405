"""RowReader: what makes row outputs of logits that somebody passes over, and of nothing else but what the loss knows.

An output that is one is a subclass, and a line in READERS (row_terms.py): every back-end that passes over logits in
plain torch calls it, whichever way it goes.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lmhead.ops.sharded.held_rows import HeldRows


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRows:
    """What the loss knows of n rows once they have been passed over."""

    top: Tensor  # [n, 1], the largest logit
    log_total: Tensor  # [n, 1], lse - top
    z_target: Tensor  # [n, K], the targets' logits
    nll: Tensor  # [n, K]
    scored: Tensor  # bool [n, K]


class RowReader(ABC):
    """Of n rows.

    Args:
        counts: of each output that is wanted, how many numbers.
    """

    makes: ClassVar[frozenset[str]]  # names in ROW_OUTPUTS

    def __init__(self, counts: Mapping[str, int]) -> None:
        self.counts = counts

    @abstractmethod
    def read(self, logits: Tensor, rows: slice, start: int) -> None:
        """Take in logits [R, width] of some rows: of the columns from `start` on, all or a tile.

        Rows come in order; their tiles too, each time of the same rows. The logits are overwritten afterwards.
        """

    @classmethod
    @abstractmethod
    def join(cls, readers: Sequence["RowReader"], shard: HeldRows) -> None:
        """Make what readers of successive rows took in of this rank's columns what all ranks did, of a cut head."""

    @abstractmethod
    def outputs(self, known: KnownRows) -> dict[str, Tensor]:
        """Of all rows, by name."""
