"""A row of data as it was read, and the place where it stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lmhead.shown import shown_line


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a row stands: prints as `chat.jsonl, line 3`."""

    source: str  # the file's path as it was given or found, or the Hub's name of a data set
    number: int  # from 1
    unit: Literal["line", "row"] = "row"  # a line of JSONL; a row of anything else
    group: str | None = None  # the source that the row itself names, in the column that was asked for; None: none

    @property
    def origin(self) -> str:
        """The source that losses are told apart by: the one that the row names, else its file or data set."""
        return self.source if self.group is None else self.group

    def __str__(self) -> str:
        return f"{shown_line(self.source)}, {self.unit} {self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row as it was read: its columns but for those that are null, which tables fill up with."""

    place: Place
    columns: Mapping[str, Any]
    nulls: frozenset[str] = frozenset()  # columns that are null
    unopened: frozenset[str] = frozenset()  # columns of its file that were not asked for
    lacks: frozenset[str] = frozenset()  # columns that are to be renamed, and that it has not
    whole: bool = False  # a file that is one text
