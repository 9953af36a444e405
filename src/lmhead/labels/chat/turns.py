"""Where an assistant's turn begins and ends in the rendered text: what it would have to produce, no more and no less.

    prompt that inference gives                                   what the assistant produces
    <|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\n      Hello<|im_end|>

The turn begins where the render of the whole conversation stops agreeing with the prompt. It ends with the last control
token on which the render with this turn as the last one, and the render in which something follows, agree.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from math import inf
from typing import Final

from lmhead.errors import ConversationError
from lmhead.labels.chat.atoms import Atoms
from lmhead.labels.chat.markers import Marked, Rendered
from lmhead.labels.chat.probes import Probe, place_of
from lmhead.labels.chat.turn_begin import Beginning, Gap, beginning, behind_header, shown
from lmhead.labels.chat.turn_end import Behind, ending
from lmhead.labels.chat.turn_stop import Ending, Stops
from lmhead.labels.conversation.conversation import ASSISTANT
from lmhead.labels.example import Note

_NOT_ANSWERED: Final = (ASSISTANT, "system", "developer")  # behind these nobody asks for an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One assistant's turn, in characters of the rendered text."""

    index: int  # of its message
    start: int
    stop: int  # exclusive
    notes: list[Note] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a turn's text stands, and what is around it, in characters of the rendered text."""

    index: int  # of its message
    before: int | None  # the last marker before it
    begin: int  # where that stands
    first: int  # the turn's first text
    end: int  # its last text
    stop: int  # the next message's text


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnFinder:
    """Finds the turns of one rendered conversation.

    Args:
        assistant_header: what stands right before an assistant's text, where the template does not tell by itself.
    """

    marked: Marked
    full: Rendered
    atoms: Atoms
    stops: Stops
    assistant_header: str | None = None
    order: list[tuple[float, float]] = field(
        init=False
    )  # where all earlier messages have begun, and any later one does

    def __post_init__(self) -> None:
        first: list[float | None] = [None] * len(self.marked.messages)
        for owner, place in _ordered(self.marked, self.full):
            first[owner] = place
        earlier = accumulate((-1.0 if place is None else place for place in first[:-1]), max, initial=-1.0)
        behind = (inf if place is None else place for place in reversed(first[1:]))
        later = [*accumulate(behind, min, initial=inf)][::-1]
        object.__setattr__(self, "order", list(zip(earlier, later, strict=True)))

    def turn(self, index: int, probe: Probe | None) -> Turn:
        """The turn that message `index` is.

        Raises:
            ConversationError: its border cannot be told, or another message's text stands in it.
        """
        if probe is None:
            raise _dropped(index, "all of its text")
        place = self._place(index, probe)
        begin = self._beginning(place, probe)
        end = self._ending(place, probe)
        notes = []
        if begin.differs:
            notes.append(_differs(index, probe.prompt or "", self.full.text[place.begin : place.begin + begin.size]))
        start, stop = place.begin + begin.size, place.end + end.size
        notes += [Note(kind=kind, message=index, text=text) for kind, text in end.notes]
        self._check_own(index, start, stop)
        self._check_order(index, start)
        return Turn(index=index, start=start, stop=stop, notes=notes)

    def _place(self, index: int, probe: Probe) -> "_Place":
        if probe.final is None:
            return self._place_of_nothing(index, probe)
        first = self._own(index)[0]
        entry = place_of(self.full, probe.final, probe.repeats)
        if entry is None:
            raise _dropped(index, "its last text")
        return _Place(
            index=index,
            before=self.full.markers[first - 1] if first else None,
            begin=self.full.places[first - 1] if first else 0,
            first=self.full.places[first],
            end=self.full.places[entry],
            stop=self._place_behind(entry),
        )

    def _place_of_nothing(self, index: int, probe: Probe) -> "_Place":
        """Of a message without text: behind it stands what stands behind the text that it was given."""
        entries = self.full.entries
        before = max((own[-1] for owner, own in entries.items() if owner < index), default=None)
        begin = 0 if before is None else self.full.places[before]
        stop = (
            len(self.full.text)
            if before is None and not entries
            else self._place_behind(-1 if before is None else before)
        )
        text = self.full.text[begin:stop]
        is_last = index == len(self.marked.messages) - 1
        behind = probe.ending_last if is_last else probe.ending_followed
        if behind is None or not text.endswith(behind.lstrip()):
            raise _dropped(index, "what ends a turn that has a text")
        end = stop - len(behind.lstrip())
        marker = None if before is None else self.full.markers[before]
        return _Place(index=index, before=marker, begin=begin, first=end, end=end, stop=stop)

    def _beginning(self, place: "_Place", probe: Probe) -> Beginning:
        index, text = place.index, self.full.text[place.begin : place.first]
        own = "" if probe.final is None else self._text_before_marker(self.full.markers[self._own(index)[0]])
        gap = Gap(
            index=index,
            before=place.before,
            text=text,
            own=next((tail for tail in (own, own.lstrip(), own.strip()) if text.endswith(tail)), ""),
            real=self.full.text[place.begin : place.stop],
            prompted=index > 0 and self.marked.messages[index - 1]["role"] not in _NOT_ANSWERED,
            behind_answer=index > 0 and self.marked.messages[index - 1]["role"] == ASSISTANT,
        )
        if self.assistant_header is not None:
            return behind_header(gap, self.assistant_header)
        return beginning(gap, probe, self.atoms)

    def _ending(self, place: "_Place", probe: Probe) -> Ending:
        messages = self.marked.messages
        text = self.full.text[place.end : place.stop]
        behind = Behind(
            index=place.index,
            text=text,
            rest=0 if probe.final is None else len(self._rest_of_leaf(probe.final, text)),
            follower=None if self._is_last(place.index) else messages[place.index + 1]["role"],
            opening=self.full.text,
            before="" if place.before is None else self._rest_of_leaf(place.before, self.full.text[place.begin :]),
        )
        return self.stops.through_stop(text, ending(behind, probe, self.atoms))

    def _place_behind(self, entry: int) -> int:
        """Where the next marker stands behind an entry, or the text ends."""
        return self.full.places[entry + 1] if entry + 1 < len(self.full.places) else len(self.full.text)

    def _text_before_marker(self, marker: int) -> str:
        """What the leaf has before its first marker: a tag."""
        part = self.marked.part(marker)
        return part.leaf.text[: part.offset(closing=bool(marker % 2))]

    def _rest_of_leaf(self, marker: int, real: str) -> str:
        """What the leaf has after its last marker: a tag, or the last character."""
        part = self.marked.part(marker)
        rest = part.leaf.text[part.offset(closing=bool(marker % 2)) :].rstrip()
        return rest if real.startswith(rest) else ""

    def _check_own(self, index: int, start: int, stop: int) -> None:
        """Nobody else's text is in the turn, and none of its own is before it."""
        places = self.full.places
        own = self.full.entries.get(index)
        if own and places[own[0]] < start:
            raise ConversationError(
                f"messages[{index}] must be rendered after the prompt, got a part of its text before it",
                kind="interleaved",
            )
        for marker in self.full.markers[bisect_right(places, start) : bisect_left(places, stop)]:
            owner = self.marked.part(marker).leaf.message
            if owner != index:
                other = "the tools" if owner < 0 else f"messages[{owner}]"
                raise ConversationError(
                    f"messages[{index}] must be rendered in one piece, got text of {other} in it", kind="interleaved"
                )

    def _check_order(self, index: int, start: int) -> None:
        """What was said before the turn is rendered before it, and nothing that was said later.

        A system prompt may stand anywhere: some templates write it into the last question.
        """
        earlier, later = self.order[index]
        if earlier < start <= later:
            return
        for owner, place in _ordered(self.marked, self.full):
            if owner != index and (owner < index) != (place < start):
                raise ConversationError(
                    f"messages[{index}] must be rendered {'behind' if owner < index else 'before'} messages[{owner}], "
                    "got it the other way round: at inference it is not so",
                    kind="interleaved",
                )

    def _own(self, index: int) -> list[int]:
        """Entries of the markers of a message."""
        if index not in self.full.entries:
            raise _dropped(index, "all of its text")
        return self.full.entries[index]

    def _is_last(self, index: int) -> bool:
        return index == len(self.marked.messages) - 1


def _ordered(marked: Marked, full: Rendered) -> Iterator[tuple[int, int]]:
    """Each message whose place among the others matters, and where its text begins in the render."""
    for owner, entries in full.entries.items():
        if owner >= 0 and marked.messages[owner]["role"] not in ("system", "developer"):
            yield owner, full.places[entries[0]]


def _dropped(index: int, what: str) -> ConversationError:
    return ConversationError(
        f"messages[{index}] must be rendered by the chat template, got a text without {what}", kind="dropped_text"
    )


def _differs(index: int, prompt: str, real: str) -> Note:
    pairs = enumerate(zip(prompt, real, strict=False))
    same = next((place for place, (one, other) in pairs if one != other), min(len(prompt), len(real)))
    given, found = shown(prompt, same), shown(real, same)
    text = f"inference prompts with {given}, the training text has {found} before the turn"
    return Note(kind="generation_prompt_differs", message=index, text=text)
