"""Windows: the messages around one turn, rendered without the rest of a long conversation.

A window is a short conversation of its own. It begins as the whole one does, with the system's message and a user's,
and holds the turn before, the turn and what answers it, the next answer without calls, and the next question: templates
ask whether such follow. Its markers are those of the whole conversation, so that texts around the turn can be compared
with the whole render, marker by marker.
"""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Final

from lmhead.labels.chat.markers import Marked, Rendered
from lmhead.labels.chat.text_fields import TOOLS
from lmhead.labels.conversation.call_ids import spelled
from lmhead.labels.conversation.conversation import ASSISTANT

_FIRST: Final = ("system", "developer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Some messages of a conversation with one turn among them.

    Markers have two numbers: those of the whole conversation, and local ones, counted in the window alone. Windows of
    one shape number alike.
    """

    of: Marked  # the whole conversation
    indices: list[int]  # which messages are in it
    place: int  # of the turn among them
    ranges: list[tuple[int, int, int]]  # (local number of the first marker, its number in the whole, how many)

    def marked(self) -> Marked:
        """The window as a conversation, with the markers of the whole one."""
        owners = list(self.of.owners)
        ranges = {TOOLS: self.of.ranges[TOOLS]} if TOOLS in self.of.ranges else {}
        for place, index in enumerate(self.indices):
            if index in self.of.ranges:
                first, stop = ranges[place] = self.of.ranges[index]
                owners[first:stop] = [place] * (stop - first)
        messages = [self.of.messages[index] for index in self.indices]
        return replace(self.of, messages=messages, owners=owners, ranges=ranges)

    @property
    def ids(self) -> list[str]:
        """Of the calls in it."""
        return [one for index in self.indices for one in self.of.ids[index]]

    def shape(self, around: "Surroundings") -> Hashable:
        """Equal for windows that differ in marked text and ids alone, with the same characters around their turn."""
        shapes = tuple(self.of.shapes[index] for index in self.indices)
        markers = tuple(map(self.local, around.markers))
        return self.of.frame, shapes, spelled(self.ids, around.texts), self.place, around.texts, markers

    def local(self, marker: int) -> int | None:
        """The local number of a marker; None for one outside."""
        for local, whole, size in self.ranges:
            if whole <= marker < whole + size:
                return local + marker - whole
        return None

    def local_of(self, marker: int) -> int:
        """The local number of a marker that is inside."""
        local = self.local(marker)
        assert local is not None
        return local

    def whole(self, marker: int) -> int:
        """The number in the whole conversation of a local one."""
        return next(whole + marker - local for local, whole, size in self.ranges if local <= marker < local + size)


class Windows:
    """The windows of one conversation."""

    def __init__(self, marked: Marked) -> None:
        self._marked = marked
        roles = [message["role"] for message in marked.messages]
        self._first = next((index for index, role in enumerate(roles) if role not in _FIRST), len(roles))
        answers = [
            "answer" if message["role"] == ASSISTANT and not message.get("tool_calls") else ""
            for message in marked.messages
        ]
        self._last_user, self._next_user = _nearest(roles, "user")
        self._last_turn, self._next_turn = _nearest(roles, ASSISTANT)
        _, self._next_answer = _nearest(answers, "answer")

    def around(self, index: int) -> Window:
        """The window around the turn that message `index` is."""
        indices = self._indices(index)
        ranges = []
        local = 0
        for own in [*indices, TOOLS]:
            first, stop = self._marked.ranges.get(own, (0, 0))
            ranges.append((local, 2 * first, 2 * (stop - first)))
            local += 2 * (stop - first)
        return Window(of=self._marked, indices=indices, place=indices.index(index), ranges=ranges)

    def _indices(self, index: int) -> list[int]:
        first = min(self._first, index)
        begin = max(first, self._last_turn[index])
        question = self._last_user[begin]
        count = len(self._marked.messages)
        end = self._next_turn[index + 1]
        answer = self._next_answer[end]
        answer = answer if answer < count else end
        asked = self._next_user[min(answer, count)]
        behind = [place for place in (answer, asked) if end <= place < count]
        return [*range(first), *([question] if first <= question else []), *range(begin, end), *behind]


def _nearest(roles: list[str], role: str) -> tuple[list[int], list[int]]:
    """For each place the last message of a role before it, or -1, and the next from it on, or the number of all."""
    last, following = [-1], [len(roles)]
    for index, own in enumerate(roles):
        last.append(index if own == role else last[-1])
    for index in range(len(roles) - 1, -1, -1):
        following.append(index if roles[index] == role else following[-1])
    return last, following[::-1]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The characters between the neighbours of a message's text and that text, and which markers stand there."""

    texts: tuple[str, ...]
    markers: tuple[int, ...]

    @staticmethod
    def of(rendered: Rendered, index: int) -> "Surroundings":
        """Those of message `index` in a render; of a message without text, what is behind the text before it."""
        places, text = rendered.places, rendered.text
        own = rendered.entries.get(index) or _last_before(rendered, index)
        if not own:
            return Surroundings((text[: places[0]] if places else text,), tuple(rendered.markers[:1]))
        first, last = own[0], own[-1]
        before = text[places[first - 1] if first else 0 : places[first]]
        behind = text[places[last] : places[last + 1] if last + 1 < len(places) else None]
        return Surroundings((before, behind), tuple(rendered.markers[max(0, first - 1) : last + 2]))


def _last_before(rendered: Rendered, index: int) -> list[int]:
    """The last entry of the nearest message before another that has any."""
    return next((rendered.entries[owner][-1:] for owner in range(index - 1, -1, -1) if owner in rendered.entries), [])
