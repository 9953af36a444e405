"""TrainingRows and HeldOut: what the loop and the evaluation ask of data, texts (text.py), conversations (chat.py)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lmhead.labels.example import MessageSpan
from lmhead.labels.packing.packed_batch import PackedBatch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DocumentTable:
    """The documents of a set in their order: where each comes from, and how many tokens it has."""

    sources: Sequence[str]  # files and data sets, or what rows name (Place.origin)
    source: npt.NDArray[np.int64]  # [N], of each document: its place among them
    tokens: npt.NDArray[np.int64]  # [N]
    scored: npt.NDArray[np.int64]  # [N]: those that are learnt, or that are held out to be predicted


class TrainingRows(Protocol):
    """Rows in an order without end: row r depends on the data and the seed alone."""

    def take(self, first: int, count: int) -> PackedBatch:
        """The rows first, first + 1, ..., count of them."""

    def name(self, source: int) -> str:
        """Where one of a batch's sources stands, as a person finds it."""

    def fingerprint(self) -> str:
        """Equal for equal training data."""

    def table(self) -> DocumentTable:
        """All documents."""

    def target_counts(self) -> npt.NDArray[np.int64]:
        """How often each id is to be predicted in all documents, up to the highest one that is."""


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

    @property
    def text(self) -> str | None:
        """All of it, end to end, where all of it is scored; None of conversations."""

    def fingerprint(self) -> str:
        """Equal for equal held-out data."""

    def batches(self, part: Part | None = None) -> Iterator[PackedBatch]:
        """Everything, each token scored once; or a part, spread over the whole."""

    def read(self, part: Part | None = None) -> int:
        """Positions that the batches have, those included that are not scored."""

    def table(self) -> DocumentTable:
        """All documents."""

    def name(self, source: int) -> str:
        """Where one of a batch's sources stands, as a person finds it."""

    def spans(self, source: int) -> tuple[MessageSpan, ...]:
        """The messages of one of a batch's sources; of a text none."""
