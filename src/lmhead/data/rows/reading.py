"""Reading: what was taken of data, and what was left out, by kind and count: the same words wherever it is told."""

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from pathlib import PurePath
from typing import Any, Final

from lmhead.data.rows.not_text import NOT_UTF8
from lmhead.data.rows.row_files import data_suffix
from lmhead.options import Message, option
from lmhead.shown import shown_line

HIDDEN: Final = "hidden"
EMPTY: Final = "empty"
UNFITTING: Final = "not of the pattern"
EXCLUDED: Final = "excluded"
LINKED: Final = "linked again"
RUN: Final = "run of lmhead"
NO_FILE: Final = "pipe, socket or device"
BESIDE_ARROW: Final = "beside .arrow"
BESIDE_CONVERSATIONS: Final = "text beside conversations"
NO_ROWS: Final = "JSON without rows"
NO_COLUMNS: Final = "CSV without columns of a format"
NO_TEXT: Final = "table without text"
EMPTY_ROW: Final = "row without text"
MARKED: Final = "row whose "  # label is false
BROKEN_LINK: Final = "broken link"
_NAMED: Final = {
    RUN,
    NO_FILE,
    NO_ROWS,
    NO_COLUMNS,
    NO_TEXT,
    EMPTY_ROW,
    BROKEN_LINK,
}  # of which the first is told; of texts too
_REMEDIES: Final = {NOT_UTF8: f"{option('errors', 'replace')} reads them"}
_LISTED: Final = 6  # suffixes


class Reading:
    """Counts what a reader takes and leaves while it reads."""

    def __init__(self) -> None:
        self.texts: Counter[str] = Counter()  # suffix -> files that are one text each
        self.tables: Counter[str] = Counter()  # suffix -> files of rows
        self.rows: Counter[str] = Counter()  # suffix -> rows
        self.left: Counter[str] = Counter()  # kind -> how many
        self.first: dict[str, str] = {}  # kind -> the first of them
        self.whole_folder = False  # a folder was given

    def leave(self, kind: str, name: str, count: int = 1) -> None:
        """Count something that is not taken."""
        self.left[kind] += count
        self.first.setdefault(kind, name)

    def leave_row(self, kind: str, source: str, place: str) -> None:
        """Count a row that was taken as one that is not."""
        self.rows[suffix_of_table(source)] -= 1
        self.leave(kind, place)

    def lines(self) -> Iterator[str]:
        """What was taken of folders, and what was left out of anything; nothing where all that was named was taken."""
        if self.whole_folder:
            yield f"taken: {self._taken()}"
        if self.left:
            yield Message("left out: " + ", ".join(self._left(kind) for kind, _ in self.left.most_common()))

    def copy(self) -> "Reading":
        """For another reader of the same files, who counts on."""
        return deepcopy(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reading) and vars(self) == vars(other)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        rows = {suffix: self.rows[suffix] for suffix in self.tables}  # what is on the Hub is in no file
        taken = {"texts": dict(self.texts), "tables": dict(self.tables), "rows": rows}
        return {"taken": taken, "left_out": dict(self.left)}

    def _taken(self) -> str:
        said = []
        if self.texts:
            said.append(f"{counted(self.texts.total(), 'text')} ({_listed(self.texts)})")
        said += [
            f"{counted(self.rows[suffix], 'row')} of {files:,} {suffix}"
            for suffix, files in sorted(self.tables.items())
        ]
        return ", ".join(said) or "nothing"

    def _left(self, kind: str) -> str:
        told = []
        if kind in _NAMED or kind.startswith(("text", MARKED)):
            told.append(f"{'first: ' if self.left[kind] > 1 else ''}{shown_line(self.first[kind])}")
        if kind in _REMEDIES:
            told.append(_REMEDIES[kind])
        return f"{kind} {self.left[kind]:,}" + (f" ({'; '.join(told)})" if told else "")


def suffix_of(name: str) -> str:
    """What a file is counted by."""
    return PurePath(name).suffix.lower() or "no suffix"


def suffix_of_table(name: str) -> str:
    """What a file of rows is counted by: that of chat.jsonl.gz is .jsonl."""
    return data_suffix(name) or "no suffix"


def counted(count: int, noun: str) -> str:
    """1 text, 2 texts."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _listed(suffixes: Counter[str]) -> str:
    most = suffixes.most_common(_LISTED if len(suffixes) > _LISTED + 1 else None)
    others = suffixes.total() - sum(count for _, count in most)
    return ", ".join(
        [*(f"{shown_line(name)} {count:,}" for name, count in most), *([f"others {others:,}"] if others else [])]
    )
