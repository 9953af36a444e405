"""Best fit out of a bounded buffer: rows from a stream of documents that is never held as a whole."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Sized
from itertools import islice
from typing import Generic, TypeVar

from lmhead.errors import require

_Document = TypeVar("_Document", bound=Sized)
_LATEST = 1 << 62  # behind every number


def buffered_best_fit(documents: Iterable[_Document], *, length: int, buffer: int) -> Iterator[list[_Document]]:
    """Rows of documents that have at most `length` tokens together; at most `buffer` documents wait at any time.

    A row begins with the document that has waited longest, so that none waits for more than `buffer` rows. Then the
    longest that still fits is added, until none does. A document that is taken makes room for the stream's next one.
    The same stream gives the same rows.

    Raises:
        ArgumentError: a document's length is not in [1, `length`].

    Example:
        >>> list(buffered_best_fit(["one", "three", "to", "four"], length=8, buffer=2))
        [['one', 'three'], ['to', 'four']]
    """
    require(length >= 1, "length", "be >= 1 token", length)
    require(buffer >= 1, "buffer", "be >= 1 document", buffer)
    return _rows(documents, length, buffer)


def _rows(documents: Iterable[_Document], length: int, buffer: int) -> Iterator[list[_Document]]:
    waiting = _Buffer(documents, length, buffer)
    while waiting:
        row = [waiting.pop_oldest()]
        space = length - len(row[0])
        while (document := waiting.pop_longest(space)) is not None:
            row.append(document)
            space -= len(document)
        yield row


class _Buffer(Generic[_Document]):
    """Documents that wait, in the order of their arrival and in that of their lengths."""

    def __init__(self, stream: Iterable[_Document], length: int, capacity: int) -> None:
        self._stream = enumerate(stream)
        self._length = length
        self._by_arrival: dict[int, _Document] = {}
        self._by_length: list[tuple[int, int]] = []  # (tokens, number), rising
        self._fill(capacity)

    def __len__(self) -> int:
        return len(self._by_arrival)

    def pop_oldest(self) -> _Document:
        number = next(iter(self._by_arrival))
        document = self._by_arrival[number]
        return self._pop(bisect_left(self._by_length, (len(document), number)))

    def pop_longest(self, space: int) -> _Document | None:
        """The longest document of at most `space` tokens, the latest of several; None where all are longer."""
        after = bisect_right(self._by_length, (space, _LATEST))
        return self._pop(after - 1) if after else None

    def _pop(self, place: int) -> _Document:
        document = self._by_arrival.pop(self._by_length.pop(place)[1])
        self._fill(1)
        return document

    def _fill(self, count: int) -> None:
        for number, document in islice(self._stream, count):
            remedy = "leave out what is empty, and drop, truncate or split what is longer"
            size = len(document)
            require(1 <= size <= self._length, "documents", f"have 1 to {self._length} tokens", size, remedy)
            self._by_arrival[number] = document
            insort(self._by_length, (size, number))
