"""What the loop asks of data, whatever it is made of: texts end to end (text.py), conversations (chat.py)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lmhead.errors import IGNORE_INDEX


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """A micro-batch: inputs, what each position has to predict, and what that weighs."""

    ids: Tensor  # [R, T]
    targets: Tensor  # [R, T], already shifted, -100 where nothing is scored
    weight: Tensor | None = None  # [R, T], 0 where nothing is scored; None: 1 where something is
    document: Tensor | None = None  # [R, T], of each position; attention stays within one; None: it does not

    @property
    def scored(self) -> int:
        """Number of positions that are scored."""
        return int((self.targets != IGNORE_INDEX).sum())

    @property
    def total_weight(self) -> float:
        """What a mean over the batch divides by."""
        return float(self.scored) if self.weight is None else float(self.weight.double().sum())

    def to(self, device: torch.device) -> "Batch":
        """The same batch on `device`."""
        weight = None if self.weight is None else self.weight.to(device)
        document = None if self.document is None else self.document.to(device)
        return Batch(ids=self.ids.to(device), targets=self.targets.to(device), weight=weight, document=document)


class TrainingRows(Protocol):
    """Rows in an order without end: row r depends on the data and the seed alone."""

    def take(self, first: int, count: int) -> Batch:
        """The rows first, first + 1, ..., count of them."""

    def names(self, first: int, count: int) -> list[str]:
        """Where the same rows come from, as a person finds it."""

    def fingerprint(self) -> str:
        """Equal for equal training data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """How much of the held-out data an evaluation along the way takes."""

    tokens: int | None = None  # scored, at most, if one row has not more already; None: of 64 rows


class HeldOut(Protocol):
    """What is never trained on."""

    tokens: int  # read by a whole evaluation, about
    scored: int  # tokens of a whole evaluation
    bytes: int  # UTF-8 of the text that is scored
    window: int  # tokens that are read at a time
    stride: int  # tokens that each next window is further on; the window where texts are read whole
    answers: bool  # what is scored without a gap is one answer, right or wrong as a whole

    def fingerprint(self) -> str:
        """Equal for equal held-out data."""

    def batches(self, part: Part | None = None) -> Iterator[Batch]:
        """Everything, each token scored once; or a part, spread over the whole."""

    def read(self, part: Part | None = None) -> int:
        """Positions that the batches have, those included that are not scored."""
