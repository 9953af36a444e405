"""Transparent markers: private-use characters put into the texts of a conversation, so that the render shows each text.

If the render with markers equals the render without them, once they are taken out, then the template treated the marked
texts as it treats the real ones, and every marker is an exact place in the real render. That equation is the proof.

A marker stands next to text that is not white space, on the inner side of tags: a template that trims, or that splits
at `</think>` and trims then, does to the marked text what it does to the real one.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from typing import Final

from lmhead.errors import NotTransparentError
from lmhead.labels.chat.atoms import TAG
from lmhead.labels.chat.python_text import Told, told
from lmhead.labels.chat.text_fields import TOOLS, Leaf, LeafKind, Rewrite, hollowed, rewritten
from lmhead.labels.conversation.call_ids import spelled, without_ids
from lmhead.labels.template.chat_template import Message


@dataclass(frozen=True, slots=True)
class Level:
    """Which leaves get markers, and how many characters inside of a text these stand."""

    kinds: frozenset[LeafKind]
    inset: int  # 0: at the edges; 1: behind the first and before the last character, for templates that test these
    empty: bool = False  # also in a message's only text if that is empty, which some templates test


_CONTENTS: Final[frozenset[LeafKind]] = frozenset({"content"})
_MESSAGES: Final = _CONTENTS | frozenset[LeafKind]({"reasoning", "call"})
_CALLS: Final = _MESSAGES | frozenset[LeafKind]({"argument_name"})
_EVERYTHING: Final = _CALLS | frozenset[LeafKind]({"tool_schema", "schema_detail"})
LEVELS: Final = tuple(
    Level(kinds, inset, empty)
    for kinds in (_EVERYTHING, _CALLS, _MESSAGES, _CONTENTS)
    for inset, empty in ((0, True), (0, False), (1, False))
)
_TAG: Final = re.compile(TAG)
_FIRST_PRIVATE: Final = 0xF0000
_LAST_PRIVATE: Final = 0x10FFFF
_MOST_SEARCHED: Final = 1_000_000  # characters that are looked through for ids: a millisecond
_END: Final = 1000  # characters: most renders hold a marker in their last ones

# One private-use character: itself, or as JSON in ASCII, Python's repr and a URL write it, which templates ask for.
_UNESCAPED: Final = f"[{chr(_FIRST_PRIVATE)}-{chr(_LAST_PRIVATE)}]"
_PRIVATE: Final = re.compile(f"({_UNESCAPED})")
_PRIVATE_OR_ESCAPED: Final = re.compile(
    _UNESCAPED
    + r"|\\u(?P<high>db[89a-fA-F][0-9a-fA-F])\\u(?P<low>d[c-fC-F][0-9a-fA-F]{2})|\\U(?P<code>00(?:0f|10)[0-9a-f]{4})"
    r"|(?P<bytes>%F3%B[0-9A-F]%[89AB][0-9A-F]%[89AB][0-9A-F]|%F4%8[0-9A-F]%[89AB][0-9A-F]%[89AB][0-9A-F])"
)


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
    first: int  # code point of marker 0
    owners: list[int]  # whose each part is: the message's index, or TOOLS
    ranges: dict[int, tuple[int, int]]  # which parts are whose, by message: first, stop
    shapes: list[bytes]  # of each message, without the marked text and ids
    ids: dict[int, list[str]]  # of the calls that a message makes or answers
    frame: bytes  # of the tools and of what is marked
    asked: dict[int, list[str]]  # what the template names of the words in a message's texts
    named: frozenset[str]  # all that the template names
    told: Told  # what its containers write around their repr
    level: Level

    def skeleton(self, text: str) -> bytes:
        """The conversation without the marked text: equal for those that differ in that, and in ids not in `text`."""
        ids = self.all_ids
        spelling = spelled(ids, [text]) if len(text) * len(ids) < _MOST_SEARCHED else tuple(ids)
        return _digest((self.frame, self.shapes, spelling))

    @property
    def all_ids(self) -> list[str]:
        """Those of all messages."""
        return [one for own in self.ids.values() for one in own]

    def part(self, marker: int) -> Part:
        """The part that a marker opens or closes."""
        return self.parts[marker // 2]

    def read(self, text: str) -> "Rendered":
        """A render with markers, taken apart."""
        return self._read_escaped(text) if _has_escapes(text) else self._read_plain(text)

    def _read_plain(self, text: str) -> "Rendered":
        """A render in which every private-use character stands as itself, as in most: taken apart at a stroke."""
        markers: list[int] = []
        places: list[int] = []
        entries: dict[int, list[int]] = {}
        python: list[int] = []
        bars = self.told.opening, self.told.closing
        pieces = _PRIVATE.split(text)  # text, a character, text, a character, ..., text
        kept = len(pieces[0])
        for place in range(1, len(pieces), 2):
            marker = ord(pieces[place]) - self.first
            if 0 <= marker < 2 * len(self.parts):
                entries.setdefault(self.owners[marker // 2], []).append(len(markers))
                places.append(kept)
                markers.append(marker)
                pieces[place] = ""
            elif pieces[place] in bars:
                python.append(kept)
                pieces[place] = ""
            kept += len(pieces[place]) + len(pieces[place + 1])
        return Rendered("".join(pieces), markers, places, entries, python)

    def _read_escaped(self, text: str) -> "Rendered":
        """The same where some may be written as JSON, Python or a URL does."""
        markers: list[int] = []
        places: list[int] = []
        pieces: list[str] = []
        entries: dict[int, list[int]] = {}
        python: list[int] = []
        bars = ord(self.told.opening), ord(self.told.closing)
        end = kept = 0
        for match in _private(text):
            code = _code_point(match)
            marker = code - self.first
            if code in bars:
                pieces.append(text[end : match.start()])
                kept += len(pieces[-1])
                python.append(kept)
                end = match.end()
            elif 0 <= marker < 2 * len(self.parts):
                pieces.append(text[end : match.start()])
                kept += len(pieces[-1])
                entries.setdefault(self.owners[marker // 2], []).append(len(markers))
                places.append(kept)
                markers.append(marker)
                end = match.end()
                if text.startswith("\\U", match.start()):  # as Python's repr escapes it
                    python.append(kept)
        return Rendered("".join([*pieces, text[end:]]), markers, places, entries, python)

    def read_end(self, text: str) -> "Rendered":
        """As much of a render's end as holds its last marker; all of it where it has none."""
        size = _END
        while size < len(text):
            end = self.read(text[-size:])
            if end.markers:
                return end
            size *= 16
        return self.read(text)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A render without its markers, and which marker stood where."""

    text: str
    markers: list[int]
    places: list[int]  # characters of `text` before each marker
    entries: dict[int, list[int]]  # which of them are whose, by message, in the order in which messages appear
    python: list[int]  # places in `text` where it is Python's repr of something


class Marker:
    """Marks conversations for one template.

    Args:
        literals: the strings that the template's expressions name. One that is more than a word is a tag: it may be
            what the template looks for.
        tested: those on which it may depend what becomes of a text that holds them; None: all.
    """

    def __init__(self, literals: frozenset[str], tested: frozenset[str] | None = None) -> None:
        self._names = literals
        self._tested = sorted(text for text in (literals if tested is None else tested) if text)
        self._tags = sorted(text for text in literals if len(text) > 1 and re.search(r"[^\w\s]", text))

    def marked(
        self, messages: Sequence[Message], tools: Sequence[Message] | None, level: Level, *, avoid: str
    ) -> Marked:
        """The conversation with markers, as strong as `level` says, none of which occurs in it or in `avoid`.

        Raises:
            NotTransparentError: its texts leave no private-use characters for the markers.
        """
        met, rest = hollowed(messages, tools)
        texts = "\0".join(leaf.text for leaf in met)
        named = [literal for literal in self._tested if literal in texts]
        tags = [literal for literal in self._tags if literal in texts]
        found = [(leaf, _parts(leaf, level, tags)) for leaf in met]
        parts = [part for _, of_leaf in found for part in of_leaf]
        first = _free_block(2 * len(parts), texts + avoid)
        bars = told(texts + avoid)
        new_messages, new_tools = rewritten(messages, tools, _inserter(found, first), bars)
        ranges: dict[int, tuple[int, int]] = {}
        for number, part in enumerate(parts):
            ranges[part.leaf.message] = ranges.get(part.leaf.message, (number, 0))[0], number + 1
        bare: dict[int, list[object]] = {}
        asked: dict[int, list[str]] = {}
        for leaf, of_leaf in found:
            own = [literal for literal in named if literal in leaf.text]
            asked.setdefault(leaf.message, []).extend(own)
            bare.setdefault(leaf.message, []).append((_unmarked(leaf, of_leaf), not leaf.text.strip(), own))
        rest_of_messages, rest_of_tools = rest
        ids: dict[int, list[str]] = {index: [] for index in range(len(messages))}
        bare_messages = [without_ids(own, self._names, ids[index]) for index, own in enumerate(rest_of_messages)]
        return Marked(
            messages=new_messages,
            tools=new_tools,
            parts=parts,
            first=first,
            ranges=ranges,
            owners=[part.leaf.message for part in parts],
            shapes=[_digest((own, bare.get(index))) for index, own in enumerate(bare_messages)],
            ids=ids,
            frame=_digest((sorted(level.kinds), level.inset, level.empty, rest_of_tools, bare.get(TOOLS))),
            asked=asked,
            named=self._names,
            told=bars,
            level=level,
        )


def _digest(value: object) -> bytes:
    return blake2b(repr(value).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _parts(leaf: Leaf, level: Level, tags: list[str]) -> list[Part]:
    """The stretches of a leaf that get markers at `level`."""
    if leaf.kind not in level.kinds:
        return []
    if level.inset:
        return [Part(leaf, start, stop, 1) for start, stop in _stretches(leaf.text, tags) if stop - start >= 2]
    parts = [Part(leaf, start, stop, 0) for start, stop in _stretches(leaf.text, tags)]
    if not parts and leaf.text.strip():  # nothing but tags
        start = len(leaf.text) - len(leaf.text.lstrip())
        return [Part(leaf, start, len(leaf.text.rstrip()), 0)]
    if not parts and leaf.alone and level.empty:
        return [Part(leaf, len(leaf.text), len(leaf.text), 0)]
    return parts


def _stretches(text: str, tags: list[str]) -> Iterator[tuple[int, int]]:
    """Where text stands between tags, without the white space around it."""
    end = 0
    for start, stop in [*_tag_spans(text, tags), (len(text), len(text))]:
        between = text[end:start]
        core = between.strip()
        if core:
            begin = end + len(between) - len(between.lstrip())
            yield begin, begin + len(core)
        end = max(end, stop)


def _tag_spans(text: str, tags: list[str]) -> list[tuple[int, int]]:
    """Where tags stand, in order. They may overlap: a literal like "\\n<" must not tear "</think>" apart."""
    spans = [match.span() for match in _TAG.finditer(text)]
    for tag in tags:
        start = text.find(tag)
        while start >= 0:
            spans.append((start, start + len(tag)))
            start = text.find(tag, start + 1)
    return sorted(spans)


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


def _unmarked(leaf: Leaf, parts: list[Part]) -> list[str]:
    """What stands before, between and behind the parts of a leaf."""
    pieces, end = [], 0
    for part in parts:
        pieces.append(leaf.text[end : part.offset(False)])
        end = part.offset(True)
    return [*pieces, leaf.text[end:]]


def _inserter(found: list[tuple[Leaf, list[Part]]], first: int) -> Rewrite:
    """Puts markers into leaf after leaf."""
    numbers = count(first)
    remaining = iter(found)

    def insert(leaf: Leaf) -> str:
        pieces, end = [], 0
        for part in next(remaining)[1]:
            opening, closing = part.offset(False), part.offset(True)
            pieces += [leaf.text[end:opening], chr(next(numbers)), leaf.text[opening:closing], chr(next(numbers))]
            end = closing
        return "".join([*pieces, leaf.text[end:]])

    return insert


def _free_block(size: int, text: str) -> int:
    """The first code point of `size` private-use characters in a row that do not occur in `text`."""
    taken = sorted({_code_point(match) for match in _private(text)})
    begin = _FIRST_PRIVATE
    for code in [*taken, _LAST_PRIVATE + 1]:
        if code - begin >= size:
            return begin
        begin = code + 1
    raise NotTransparentError(
        f"messages must leave {size} private-use characters in a row for markers, got texts that use too many of them"
    )


def _private(text: str) -> Iterator[re.Match[str]]:
    """Every private-use character in a text, however it is written. Looking for escapes costs time."""
    escaped = _has_escapes(text)
    if text.isascii() and not escaped:
        return iter(())
    return (_PRIVATE_OR_ESCAPED if escaped else _PRIVATE).finditer(text)


def _has_escapes(text: str) -> bool:
    return "\\ud" in text or "\\U00" in text or "%F" in text


def _code_point(match: re.Match[str]) -> int:
    """Of the private-use character that a match of `_private` is."""
    if match.re is _PRIVATE:
        return ord(match.group())
    if match["high"]:
        return 0x10000 + ((int(match["high"], 16) - 0xD800) << 10) + int(match["low"], 16) - 0xDC00
    if match["code"]:
        return int(match["code"], 16)
    if match["bytes"]:
        return ord(bytes.fromhex(match["bytes"].replace("%", "")).decode())
    return ord(match.group())
