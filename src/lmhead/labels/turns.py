"""Where an assistant's turn begins and ends in the rendered text: what it would have to produce, no more and no less.

    prompt that inference gives                                   what the assistant produces
    <|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\n      Hello<|im_end|>

The turn begins where the render of the whole conversation stops agreeing with the prompt. It ends with the last control
token on which the render with this turn as the last one, and the render in which something follows, agree.
"""

from dataclasses import dataclass, field

from lmhead.errors import ConversationError
from lmhead.labels.atoms import Atoms
from lmhead.labels.example import Note
from lmhead.labels.markers import Marked, Rendered
from lmhead.labels.probes import Probe, place_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One assistant's turn, in characters of the rendered text."""

    index: int  # of its message
    start: int
    stop: int  # exclusive
    notes: list[Note] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnFinder:
    """Finds the turns of one rendered conversation.

    Args:
        assistant_header: what stands right before an assistant's text, where the template does not tell by itself.
    """

    marked: Marked
    full: Rendered
    atoms: Atoms
    assistant_header: str | None = None

    def turn(self, index: int, probe: Probe | None) -> Turn:
        """The turn that message `index` is.

        Raises:
            ConversationError: its border cannot be told, or another message's text stands in it.
        """
        if probe is None:
            raise _dropped(index, "all of its text")
        notes: list[Note] = []
        start = self._start(index, probe, notes)
        stop = self._stop(index, probe, notes)
        self._check_own(index, start, stop)
        return Turn(index=index, start=start, stop=stop, notes=notes)

    def _start(self, index: int, probe: Probe, notes: list[Note]) -> int:
        first = self._own(index)[0]
        begin = self.full.places[first - 1] if first else 0  # of the text between the turn and what precedes it
        gap = self.full.text[begin : self.full.places[first]]
        if self.assistant_header is not None:
            return begin + self._after_header(index, gap, self.assistant_header, "assistant_header")
        before = self.full.markers[first - 1] if first else None
        real = self.full.text[begin:]
        if probe.prompt is not None and probe.before == before:
            agreed = self.atoms.common(probe.prompt, real)
            if agreed == probe.prompt:
                return begin + len(agreed)
            if probe.as_user is not None and len(agreed) > len(self.atoms.common(probe.prompt, probe.as_user)):
                notes.append(_differs(index, probe.prompt[len(agreed) :], real[len(agreed) :]))
                return begin + len(agreed)
        if probe.header:
            return begin + self._after_header(index, gap, probe.header, "the generation prompt")
        raise ConversationError(
            f"messages[{index}] must begin as the template's generation prompt does, got {_shown(gap)} where the "
            f"prompt is {_shown(probe.prompt or '')}: give assistant_header=, what stands before an assistant's text",
            kind="generation_prompt",
        )

    def _after_header(self, index: int, gap: str, header: str, name: str) -> int:
        if gap.count(header) != 1:
            raise ConversationError(
                f"{name} must stand once before messages[{index}], got {gap.count(header)} times {header!r} in "
                f"{_shown(gap)}: give assistant_header= as the template writes it",
                kind="generation_prompt",
            )
        return gap.index(header) + len(header)

    def _stop(self, index: int, probe: Probe, notes: list[Note]) -> int:
        entry = place_of(self.full, probe.final, probe.repeats)
        if entry is None:
            raise _dropped(index, "its last text")
        place = self.full.places[entry]
        real = self.full.text[place:]
        text_end = len(self._rest_of_leaf(probe.final, real))
        certain = probe.ending_last
        if probe.ending_followed is not None:
            certain = self.atoms.common(probe.ending_last, probe.ending_followed)
        terminated = text_end + len(self.atoms.through_last_control(certain[text_end:]))
        if terminated > text_end:
            return place + terminated
        other = self._other_terminator(index, probe, real[text_end:])
        if other:
            text = f"ends with {other!r} here, and otherwise where it is "
            text += "not the last" if self._is_last(index) else "the last"
            notes.append(Note(kind="terminator_differs", message=index, text=text))
            return place + text_end + len(other)
        notes.append(Note(kind="no_terminator", message=index, text="no control token ends the turn"))
        return place + max(text_end, len(certain.rstrip()))

    def _other_terminator(self, index: int, probe: Probe, rest: str) -> str:
        """The control token that ends the turn here alone: the last turn's, or the one that ends others' turns too."""
        candidate = self.atoms.through_first_control(rest)
        if len(self.atoms.controls(candidate)) != 1 or candidate.strip() != self.atoms.controls(candidate)[0]:
            return ""
        if self._is_last(index):
            return "" if probe.prompt is not None and probe.prompt.endswith(rest) else candidate
        closes_others = self.atoms.controls(probe.bare_prompt or "")[:1]
        return candidate if closes_others == [candidate.strip()] else ""

    def _rest_of_leaf(self, marker: int, real: str) -> str:
        """What the leaf has after its last marker: a tag, or the last character."""
        part = self.marked.part(marker)
        rest = part.leaf.text[part.offset(closing=bool(marker % 2)) :].rstrip()
        return rest if real.startswith(rest) else ""

    def _check_own(self, index: int, start: int, stop: int) -> None:
        """Nobody else's text is in the turn, and none of its own is before it."""
        for marker, place in zip(self.full.markers, self.full.places, strict=True):
            owner = self.marked.part(marker).leaf.message
            if owner != index and start < place < stop:
                other = "the tools" if owner < 0 else f"messages[{owner}]"
                raise ConversationError(
                    f"messages[{index}] must be rendered in one piece, got text of {other} in it", kind="interleaved"
                )
            if owner == index and place < start:
                raise ConversationError(
                    f"messages[{index}] must be rendered after the prompt, got a part of its text before it",
                    kind="interleaved",
                )

    def _own(self, index: int) -> list[int]:
        """Entries of the markers of a message."""
        own = [
            entry for entry, marker in enumerate(self.full.markers) if self.marked.part(marker).leaf.message == index
        ]
        if not own:
            raise _dropped(index, "all of its text")
        return own

    def _is_last(self, index: int) -> bool:
        return index == len(self.marked.messages) - 1


def _dropped(index: int, what: str) -> ConversationError:
    return ConversationError(
        f"messages[{index}] must be rendered by the chat template, got a text without {what}", kind="dropped_text"
    )


def _differs(index: int, prompt: str, real: str) -> Note:
    text = f"inference would go on with {_shown(prompt)} where the training text has {_shown(real)}"
    return Note(kind="generation_prompt_differs", message=index, text=text)


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 60 else repr(text[:57]) + "..."
