"""Transparent markers: private-use characters put into the texts of a conversation, so that the render shows each text.

If the render with markers equals the render without them, once they are taken out, then the template treated the marked
texts as it treats the real ones, and every marker is an exact place in the real render. That equation is the proof.

A marker stands next to text that is not white space, on the inner side of tags: a template that trims, or that splits
at `</think>` and trims then, does to the marked text what it does to the real one.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from lmhead.errors import NotTransparentError
from lmhead.labels.atoms import TAG
from lmhead.labels.leaves import Leaf, LeafKind, Rewrite, leaves, rewritten
from lmhead.labels.template import Message


@dataclass(frozen=True, slots=True)
class Level:
    """Which leaves get markers, and how many characters inside of a text these stand."""

    kinds: frozenset[LeafKind]
    inset: int  # 0: at the edges; 1: behind the first and before the last character, for templates that test these


_MESSAGES: Final[frozenset[LeafKind]] = frozenset({"content", "reasoning", "call"})
_EVERYTHING: Final[frozenset[LeafKind]] = _MESSAGES | frozenset[LeafKind]({"tool_schema"})
_CONTENTS: Final[frozenset[LeafKind]] = frozenset({"content"})
LEVELS: Final = tuple(Level(kinds, inset) for kinds in (_EVERYTHING, _MESSAGES, _CONTENTS) for inset in (0, 1))
_FIRST_PRIVATE: Final = 0xF0000
_LAST_PRIVATE: Final = 0x10FFFF
_PRIVATE: Final = re.compile(f"[{chr(_FIRST_PRIVATE)}-{chr(_LAST_PRIVATE)}]")


@dataclass(frozen=True, slots=True)
class Part:
    """One marked stretch of a leaf: text between tags, without the white space around it."""

    leaf: Leaf
    start: int  # in the leaf
    stop: int  # in the leaf, exclusive
    inset: int  # how many characters inside of the stretch its two markers stand

    def offset(self, closing: bool) -> int:
        """Where in the leaf a marker stands."""
        return self.stop - self.inset if closing else self.start + self.inset


@dataclass(frozen=True, slots=True)
class Marked:
    """A conversation with markers: marker 2 p opens parts[p], marker 2 p + 1 closes it."""

    messages: list[Message]
    tools: list[Message] | None
    parts: list[Part]
    skeleton: str  # the same without the marked text: equal for conversations that differ in that alone
    first: int  # code point of marker 0

    def part(self, marker: int) -> Part:
        """The part that a marker opens or closes."""
        return self.parts[marker // 2]

    def read(self, text: str) -> "Rendered":
        """A render with markers, taken apart."""
        markers: list[int] = []
        places: list[int] = []
        pieces: list[str] = []
        end = 0
        for match in _PRIVATE.finditer(text):
            marker = ord(match.group()) - self.first
            if 0 <= marker < 2 * len(self.parts):
                places.append(match.start() - len(markers))
                markers.append(marker)
                pieces.append(text[end : match.start()])
                end = match.end()
        return Rendered("".join([*pieces, text[end:]]), markers, places)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A render without its markers, and which marker stood where."""

    text: str
    markers: list[int]
    places: list[int]  # characters of `text` before each marker


class Marker:
    """Marks conversations for one template.

    Args:
        literals: the strings that the template's expressions name. One that is more than a word is a tag: it may be
            what the template looks for.
    """

    def __init__(self, literals: frozenset[str]) -> None:
        tags = sorted(
            (text for text in literals if len(text) > 1 and re.search(r"[^\w\s]", text)), key=len, reverse=True
        )
        self._tag = re.compile("|".join([TAG, *map(re.escape, tags)]))
        self._literals = sorted(text for text in literals if text)

    def marked(
        self, messages: Sequence[Message], tools: Sequence[Message] | None, level: Level, *, avoid: str
    ) -> Marked:
        """The conversation with markers, as strong as `level` says, none of which occurs in it or in `avoid`.

        Raises:
            NotTransparentError: its texts leave no private-use characters for the markers.
        """
        found = [(leaf, self._parts(leaf, level)) for leaf in leaves(messages, tools)]
        parts = [part for _, of_leaf in found for part in of_leaf]
        first = _free_block(2 * len(parts), "".join([*(leaf.text for leaf, _ in found), avoid]))
        new_messages, new_tools = rewritten(messages, tools, _inserter(found, first, keep=True))
        bare = rewritten(messages, tools, _inserter(found, first, keep=False))
        named = [(leaf.text.strip() == "", self._named_in(leaf.text)) for leaf, _ in found]
        return Marked(new_messages, new_tools, parts, repr((sorted(level.kinds), level.inset, bare, named)), first)

    def _named_in(self, text: str) -> list[str]:
        """The template's literals that occur in a text: what it may ask of the text."""
        return [literal for literal in self._literals if literal in text]

    def _parts(self, leaf: Leaf, level: Level) -> list[Part]:
        """The stretches of a leaf that get markers at `level`."""
        if leaf.kind not in level.kinds:
            return []
        if level.inset:
            return [Part(leaf, start, stop, 1) for start, stop in self._stretches(leaf.text) if stop - start >= 2]
        parts = [Part(leaf, start, stop, 0) for start, stop in self._stretches(leaf.text)]
        if not parts and leaf.text.strip():  # nothing but tags
            start = len(leaf.text) - len(leaf.text.lstrip())
            return [Part(leaf, start, len(leaf.text.rstrip()), 0)]
        if not parts and leaf.alone:
            return [Part(leaf, len(leaf.text), len(leaf.text), 0)]
        return parts

    def _stretches(self, text: str) -> Iterator[tuple[int, int]]:
        """Where text stands between tags, without the white space around it."""
        end = 0
        for start, stop in [*(match.span() for match in self._tag.finditer(text)), (len(text), len(text))]:
            between = text[end:start]
            core = between.strip()
            if core:
                begin = end + len(between) - len(between.lstrip())
                yield begin, begin + len(core)
            end = stop


def check_transparent(plain: str, marked: str) -> None:
    """The proof: a render with markers, without them, is the render.

    Raises:
        NotTransparentError: it is not; both texts are shown around their first difference.
    """
    if plain == marked:
        return
    same = next(
        (i for i, (a, b) in enumerate(zip(plain, marked, strict=False)) if a != b), min(len(plain), len(marked))
    )
    raise NotTransparentError(
        "messages must render alike with and without markers, got texts that differ from character "
        f"{same}: {_around(plain, same)} without and {_around(marked, same)} with them: the template reads the texts "
        "that it renders, so what it made of them cannot be located"
    )


def _around(text: str, place: int) -> str:
    begin, end = max(0, place - 40), place + 40
    return ("..." if begin else "") + repr(text[begin:end]) + ("..." if end < len(text) else "")


def _inserter(found: list[tuple[Leaf, list[Part]]], first: int, *, keep: bool) -> Rewrite:
    """Puts markers into leaf after leaf; `keep` says whether the text between a pair of them stays."""
    numbers = count(first)
    remaining = iter(found)

    def insert(leaf: Leaf) -> str:
        pieces, end = [], 0
        for part in next(remaining)[1]:
            opening, closing = part.offset(False), part.offset(True)
            text = leaf.text[opening:closing] if keep else ""
            pieces += [leaf.text[end:opening], chr(next(numbers)), text, chr(next(numbers))]
            end = closing
        return "".join([*pieces, leaf.text[end:]])

    return insert


def _free_block(size: int, text: str) -> int:
    """The first code point of `size` private-use characters in a row that do not occur in `text`."""
    taken = sorted({ord(character) for character in _PRIVATE.findall(text)})
    begin = _FIRST_PRIVATE
    for code in [*taken, _LAST_PRIVATE + 1]:
        if code - begin >= size:
            return begin
        begin = code + 1
    raise NotTransparentError(
        f"messages must leave {size} private-use characters in a row for markers, got texts that use too many of them"
    )
