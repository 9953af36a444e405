"""LabelledData: a labelled data set, as arrays in memory or in files that are mapped into it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
import numpy.typing as npt

from lmhead.data.labelling.columns import LabelColumns
from lmhead.data.labelling.outcome import Labelled
from lmhead.data.labelling.survey import Survey
from lmhead.labels.example import Example


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledData(Sequence[Labelled]):
    """Every row of a data set, labelled or refused, in order. A row's objects are made when it is asked for."""

    columns: LabelColumns
    formats: Counter[str]  # how many rows of each format were read; broken ones are not counted
    passed_over: Counter[str]  # formats whose columns rows had as well, which were not read
    survey: Survey = field(default_factory=Survey)  # what rows were found to be before they were labelled
    told: tuple[str, ...] = ()  # what was taken of folders, and what was left out
    fingerprint: str  # SHA-256 of what it was made of: files, options, template, tokenizer, library
    from_cache: bool = False
    notes: tuple[str, ...] = field(default=())  # what a user should be told of how it was made

    def __len__(self) -> int:
        return len(self.columns)

    @overload
    def __getitem__(self, index: int) -> Labelled: ...
    @overload
    def __getitem__(self, index: slice) -> list[Labelled]: ...
    def __getitem__(self, index: int | slice) -> Labelled | list[Labelled]:
        if isinstance(index, slice):
            return [self.columns.row(row) for row in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"index must be in [-{len(self)}, {len(self)}), got {index}")
        return self.columns.row(index % len(self))

    def __iter__(self) -> Iterator[Labelled]:
        return map(self.columns.row, range(len(self)))

    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each row [R]; 0 where it is refused."""
        return np.diff(self.columns.arrays["tokens"])

    def refused(self) -> list[int]:
        """Indices of the rows that are refused."""
        return [row for row in range(len(self)) if self.columns.is_refused(row)]

    def examples(self) -> "LabelledExamples":
        """The Examples alone, as a sequence that makes each when it is asked for."""
        return LabelledExamples(self)


class LabelledExamples(Sequence[Example]):
    """The Examples of a LabelledData, without the rows that are refused."""

    def __init__(self, data: LabelledData) -> None:
        self._columns = data.columns
        refused = np.zeros(len(data), np.bool_)
        refused[data.refused()] = True
        self.rows: npt.NDArray[np.int64] = np.flatnonzero(~refused)  # of the LabelledData, for each Example
        self.lengths: npt.NDArray[np.int64] = data.lengths()[self.rows]  # tokens

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        example = self._columns.row(int(self.rows[index])).example
        assert example is not None
        return example
