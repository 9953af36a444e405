"""Unread: columns of rows and keys of messages that nothing has read, counted, with the first place of each.

What is read is not listed anywhere: a row's columns note which of them its reader asked for.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from lmhead.data.formats.sample import ChatSample
from lmhead.data.rows.row import Row
from lmhead.labels.conversation.turn_flags import FLAGS
from lmhead.labels.template.chat_template import REASONING_FIELDS

# Keys of a message that every reader or labeler knows. A template may read more.
OWN_KEYS: Final = frozenset(
    ("role", "content", "tool_calls", "tool_call_id", "name", "prefill", *REASONING_FIELDS, *FLAGS)
)


class WatchedColumns(Mapping[str, Any]):
    """The columns of a row, which note what was asked for."""

    def __init__(self, columns: Mapping[str, Any]) -> None:
        self._columns = columns
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.asked.add(name)
        return self._columns[name]

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def left(self) -> Iterator[str]:
        """Columns that nobody asked for, and that hold something."""
        return (name for name, value in self._columns.items() if name not in self.asked and holds(value))


class Unread:
    """Counts what was not read."""

    def __init__(self) -> None:
        self.columns: Counter[str] = Counter()  # name -> rows
        self.keys: Counter[str] = Counter()  # of messages -> messages
        self.places: dict[str, str] = {}  # column, or .key -> where it was met first
        self.read: set[str] = set()  # columns that rows have, and that were read
        self.met: dict[str, ChatSample] = {}  # key -> the first conversation that has it

    def look_at(self, row: Row, columns: WatchedColumns, sample: object) -> None:
        """Count what a row has beside what its reader asked for, and its messages beside what is ours."""
        self.read.update(columns.asked.intersection(columns))
        for name in (*columns.left(), *row.unopened):
            self.columns[name] += 1
            self.places.setdefault(name, str(row.place))
        if isinstance(sample, ChatSample):
            self.look_at_messages(sample)

    def look_at_messages(self, sample: ChatSample) -> None:
        """Count keys of messages that are not ours."""
        for message in sample.messages:
            if not isinstance(message, Mapping) or message.keys() <= OWN_KEYS:
                continue
            for key in message.keys() - OWN_KEYS:
                if holds(message[key]):
                    self.keys[key] += 1
                    self.places.setdefault(f".{key}", str(sample.place))
                    self.met.setdefault(key, sample)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; conversations are left out."""
        return {"columns": self.columns, "keys": self.keys, "places": self.places, "read": sorted(self.read)}

    @staticmethod
    def of_dict(saved: Mapping[str, Any]) -> "Unread":
        """From what `to_dict` gave."""
        unread = Unread()
        unread.columns.update(saved["columns"])
        unread.keys.update(saved["keys"])
        unread.places.update(saved["places"])
        unread.read.update(saved["read"])
        return unread


def holds(value: object) -> bool:
    """Whether a value says anything: not null, and no text, list or object without something in it."""
    return value is not None and not (isinstance(value, str | list | tuple | dict) and len(value) == 0)
