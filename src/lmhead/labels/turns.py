"""Where an assistant's turn begins and ends in the rendered text: what it would have to produce, no more and no less.

    prompt that inference gives                                   what the assistant produces
    <|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\n      Hello<|im_end|>

The turn begins where the render of the whole conversation stops agreeing with the prompt. It ends with the last control
token on which the render with this turn as the last one, and the render in which something follows, agree.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from lmhead.errors import ConversationError
from lmhead.labels.atoms import Atoms
from lmhead.labels.example import Note
from lmhead.labels.markers import Marked, Rendered
from lmhead.labels.probes import LONE_TEXT, LoneUser, Probe, place_of


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
        self._check_order(index, start)
        return Turn(index=index, start=start, stop=stop, notes=notes)

    def _start(self, index: int, probe: Probe, notes: list[Note]) -> int:
        first = self._own(index)[0]
        before = self.full.markers[first - 1] if first else None
        begin = self.full.places[first - 1] if first else 0  # of the text between the turn and what precedes it
        gap = self.full.text[begin : self.full.places[first]]
        if self.assistant_header is not None:
            return begin + self._after_header(index, gap)
        agreed = begin + self._agreed(probe, before, self.full.text[begin:])
        header = self._header(probe, gap[agreed - begin :] if agreed > begin else gap)
        if header:
            agreed = self.full.text.index(header, agreed) + len(header)
        else:
            self._check_prompted(index, probe, before, gap, agreed - begin)
        if header or probe.prompt != self.full.text[begin:agreed]:
            notes.append(_differs(index, probe.prompt or "", self.full.text[begin:agreed]))
        return agreed

    def _agreed(self, probe: Probe, before: int | None, real: str) -> int:
        """How many characters the prompt and the render agree on; 0 where that is less than an assistant's header."""
        if probe.prompt is None or probe.before != before:
            return 0
        agreed = self.atoms.common(probe.prompt, real)
        if agreed == probe.prompt:
            return len(agreed)
        if probe.as_user is None or _within_word(agreed, probe.prompt, real):
            return 0
        shared_with_user = self.atoms.common(probe.prompt, probe.as_user)
        return len(agreed) if len(agreed) > len(shared_with_user) else 0

    def _header(self, probe: Probe, gap: str) -> str:
        """As much of the generation prompt as stands, once, in front of a turn, if it sets apart from a user's turn."""
        if not gap or probe.lone is None:
            return ""
        header = ""
        best = ""
        prompt = probe.lone.generation_prompt.lstrip()
        for atom in self.atoms.split(prompt):
            header += atom
            times = gap.count(header)
            if not times:
                break
            rest = gap[gap.index(header) + len(header) :]
            if times == 1 and header not in probe.lone.text and not _within_word(header, prompt, header + rest):
                best = header
        return best

    def _check_prompted(self, index: int, probe: Probe, before: int | None, gap: str, agreed: int) -> None:
        """The render agrees with a prompt, and no header is left behind it that would have to be learnt.

        One is left where a template knows no generation prompt, and opens every answer in the same way.
        """
        if not agreed and (probe.prompt != "" or probe.before != before):
            raise _no_prompt(index, gap, probe, "")
        rest = gap[agreed:].lstrip()
        if not rest or probe.prompt is None or probe.as_answer is None or _always_prompts(probe):
            return
        of_another = probe.as_answer.removeprefix(probe.prompt).lstrip()
        header = self.atoms.common(rest, of_another)
        if header.strip() and not _within_word(header, rest, of_another):
            raise _no_prompt(index, gap, probe, header)

    def _after_header(self, index: int, gap: str) -> int:
        header = self.assistant_header or ""
        if gap.count(header) != 1:
            raise ConversationError(
                f"assistant_header must stand once before messages[{index}], got {gap.count(header)} times "
                f"{header!r} in {_shown(gap)}: give it as the template writes it",
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
        certain = self._certain_ending(index, probe)
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

    def _certain_ending(self, index: int, probe: Probe) -> str:
        """What follows the turn's last marker, whether or not anything follows the turn."""
        if probe.ending_followed is None:
            return probe.ending_last
        certain = self.atoms.common(probe.ending_last, probe.ending_followed)
        if not certain or certain.rstrip() == probe.ending_last.rstrip():
            return certain
        closed = self._without_opener(certain, probe.lone)
        if closed == certain and _always_prompts(probe):
            raise ConversationError(
                f"messages[{index}] must end in the render without a generation prompt after it, got "
                f"{_shown(certain)}: the template always adds one, and where the turn ends cannot be told",
                kind="generation_prompt",
            )
        return closed

    def _without_opener(self, ending: str, lone: LoneUser | None) -> str:
        """An ending without the beginning of the next header, where the template writes more behind the last turn.

        What opens a turn shows at the very beginning of the text, behind a first control token: nothing ended there.
        A token that also ends the text behind a lone user's message is no opener, though it may begin the text too.
        """
        opening = list(self.atoms.split(self.full.text))
        atoms = list(self.atoms.split(ending))
        for size in range(len(atoms), 0, -1):
            opener = "".join(atoms[-size:])
            ends = lone is not None and lone.text.rstrip().endswith(opener.strip())
            if atoms[-size:] in (opening[:size], opening[1 : size + 1]) and not ends:
                return "".join(atoms[:-size])
        return ending

    def _other_terminator(self, index: int, probe: Probe, rest: str) -> str:
        """The control token that ends the turn here alone: the last turn's, or one that no turn begins with."""
        candidate = self.atoms.through_first_control(rest)
        if self.atoms.controls(candidate) != [candidate.strip()]:
            return ""
        if self._is_last(index):
            return "" if (probe.prompt or "").strip().endswith(rest.strip()) else candidate
        of_others = probe.bare_prompt or ""
        if probe.before is not None:
            of_others = of_others.removeprefix(self._rest_of_leaf(probe.before, of_others))
        of_lone = probe.lone.text.rpartition(LONE_TEXT)[2] if probe.lone else ""
        ends_others = [self.atoms.controls(text)[:1] for text in (of_others, of_lone)]
        if [candidate.strip()] in ends_others and not _always_prompts(probe):
            return candidate
        followed_by_user = self.marked.messages[index + 1]["role"] == "user"
        opens_user = probe.lone is None or candidate.strip() in self.atoms.controls(probe.lone.text)
        return candidate if followed_by_user and not opens_user else ""

    def _rest_of_leaf(self, marker: int, real: str) -> str:
        """What the leaf has after its last marker: a tag, or the last character."""
        part = self.marked.part(marker)
        rest = part.leaf.text[part.offset(closing=bool(marker % 2)) :].rstrip()
        return rest if real.startswith(rest) else ""

    def _check_own(self, index: int, start: int, stop: int) -> None:
        """Nobody else's text is in the turn, and none of its own is before it."""
        places = self.full.places
        if places[self._own(index)[0]] < start:
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
        messages = self.marked.messages
        for owner, entries in self.full.entries.items():
            place = self.full.places[entries[0]]
            anywhere = owner < 0 or owner == index or messages[owner]["role"] in ("system", "developer")
            if not anywhere and (owner < index) != (place < start):
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


def _dropped(index: int, what: str) -> ConversationError:
    return ConversationError(
        f"messages[{index}] must be rendered by the chat template, got a text without {what}", kind="dropped_text"
    )


def _no_prompt(index: int, gap: str, probe: Probe, header: str) -> ConversationError:
    found = f", such as {header!r}" if header else ""
    return ConversationError(
        f"messages[{index}] must begin as the template's generation prompt does, got {_shown(gap)} where the prompt is "
        f"{_shown(probe.prompt or '')}: give assistant_header=, what stands before an assistant's text{found}",
        kind="generation_prompt",
    )


def _always_prompts(probe: Probe) -> bool:
    """Whether a generation prompt stands behind a conversation even where none is asked for."""
    as_user, bare_prompt = probe.as_user, probe.bare_prompt
    differs = as_user is not None and bare_prompt is not None and not as_user.startswith(bare_prompt)
    return differs and probe.prompt == bare_prompt


def _within_word(agreed: str, first: str, second: str) -> bool:
    """Two texts part in the middle of a word."""
    following = first[len(agreed) : len(agreed) + 1], second[len(agreed) : len(agreed) + 1]
    return agreed[-1:].isalnum() and any(character.isalnum() for character in following)


def _differs(index: int, prompt: str, real: str) -> Note:
    pairs = enumerate(zip(prompt, real, strict=False))
    same = next((place for place, (one, other) in pairs if one != other), min(len(prompt), len(real)))
    shown, given = _shown(real, same), _shown(prompt, same)
    text = f"inference prompts with {given}, the training text has {shown} before the turn"
    return Note(kind="generation_prompt_differs", message=index, text=text)


def _shown(text: str, place: int = 0) -> str:
    """The text where it is short, else what stands around a place in it."""
    if len(text) <= 60:
        return repr(text)
    start = max(0, min(place - 28, len(text) - 57))
    return ("..." if start else "") + repr(text[start : start + 57]) + ("..." if start + 57 < len(text) else "")
