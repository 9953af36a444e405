"""A long text in pieces, cut where tokenizers cut too: between lines, between words, or where nothing else is left."""

from collections.abc import Iterator
from typing import Final

LONGEST: Final = 2**16  # bytes of a piece
# Where a piece may end, best first: behind a line end, before the space between two words, before a mark behind a
# letter or a number, before a line end.
_MARKS: Final = (b" ", *(mark.encode() for mark in ('"', ",", ".", "/", "\u3002", "\uff0c")), b"\n")


def pieces(utf8: memoryview, *, longest: int = LONGEST) -> Iterator[str]:
    """The text of the bytes in pieces of at most `longest` bytes: joined, they are the text."""
    return (str(utf8[start:stop], "utf-8") for start, stop in spans(utf8, longest=longest))


def spans(utf8: memoryview, *, longest: int = LONGEST) -> Iterator[tuple[int, int]]:
    """Where each piece begins and ends."""
    start = 0
    while len(utf8) - start > longest:
        stop = _cut(utf8, start, start + longest)
        yield start, stop
        start = stop
    if start < len(utf8):
        yield start, len(utf8)


def _cut(utf8: memoryview, start: int, stop: int) -> int:
    """The last good place in the second half of (start, stop]; where there is none, the last between two characters."""
    window = bytes(utf8[start : stop + 4])
    bound = stop - start
    place = bound
    while (place := window.rfind(b"\n", bound // 2, place)) > 0:
        if not _first(window[place + 1 : place + 5]).isspace():
            return start + place + 1
    for mark in _MARKS:
        place = bound
        while (place := window.rfind(mark, bound // 2, place)) > 0:
            before, after = _last(window[place - 4 : place]), _first(window[place + len(mark) : place + len(mark) + 4])
            if (before.isalnum() or (mark == b" " and not before.isspace())) and (mark == b"\n" or not after.isspace()):
                return start + place
    while window[bound] & 0xC0 == 0x80:
        bound -= 1
    return start + bound


def _first(utf8: bytes) -> str:
    """The character that bytes begin with; a space where there is none."""
    return (utf8.decode("utf-8", "ignore") or " ")[0]


def _last(utf8: bytes) -> str:
    """The character that bytes end with."""
    return (utf8.decode("utf-8", "ignore") or " ")[-1]
