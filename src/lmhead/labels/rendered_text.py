"""Which text of a conversation a render holds, which it dropped, and which of it is reasoning."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from lmhead.errors import ConversationError
from lmhead.labels.atoms import Atoms
from lmhead.labels.conversation import ASSISTANT, Conversation
from lmhead.labels.example import Note
from lmhead.labels.leaves import TOOLS
from lmhead.labels.markers import Marked, Part, Rendered
from lmhead.labels.turns import Turn

_END_OF_REASONING: Final = re.compile(
    r"</(?:think|thinking|thought|reasoning|analysis|seed:think)>|\[/THINK\]|<\|END_THINKING\|>|<\|end_of_thought\|>"
    r"|<\|inner_suffix\|>|\u25c1/think\u25b7|<channel\|>"
)
_OPENINGS: Final = ("</", "[/", "<|", "\u25c1/", "<channel")  # of every alternative: looking for these costs less


@dataclass(frozen=True, slots=True)
class Place:
    """A marked part, and the characters of the render where it stands."""

    part: Part
    start: int
    stop: int  # exclusive


def places(marked: Marked, rendered: Rendered) -> list[Place]:
    """Where each part stands, in the order of the render. One that is written twice has two places."""
    found = []
    pairs = zip(rendered.markers, rendered.markers[1:], rendered.places, rendered.places[1:], strict=False)
    for opening, closing, start, stop in pairs:
        if opening % 2 == 0 and closing == opening + 1:
            part = marked.part(opening)
            found.append(Place(part, start - part.inset, stop + part.inset))
    return found


def is_reasoning(conversation: Conversation, part: Part) -> bool:
    """Whether a part is what an assistant thought: its own field, or a content's text before the end of a thought."""
    if part.leaf.kind == "reasoning":
        return True
    assistant = part.leaf.message != TOOLS and conversation.messages[part.leaf.message]["role"] == ASSISTANT
    if not assistant or part.leaf.kind != "content" or not any(opening in part.leaf.text for opening in _OPENINGS):
        return False
    return bool(_END_OF_REASONING.search(part.leaf.text, part.stop))


def reasoning_notes(conversation: Conversation, marked: Marked, found: list[Place]) -> Iterator[Note]:
    """A note for each assistant's message with reasoning of which nothing is in the render."""
    present = {place.part.leaf.message for place in found if is_reasoning(conversation, place.part)}
    thinking = {part.leaf.message for part in marked.parts if is_reasoning(conversation, part)}
    for index in sorted(thinking - present):
        text = "the chat template does not render its reasoning here"
        yield Note(kind="reasoning_dropped", message=index, text=text)


def reasoning_stretches(
    conversation: Conversation, found: list[Place], turn: Turn, text: str, atoms: Atoms
) -> list[tuple[int, int]]:
    """Where a turn's reasoning stands, with its tags; empty tags of the template's own are reasoning too."""
    own = [
        place
        for place in found
        if place.part.leaf.message == turn.index and turn.start <= place.start and place.stop <= turn.stop
    ]
    thoughts = [is_reasoning(conversation, place.part) for place in own]
    stretches = []
    if not (thoughts and thoughts[0]):
        lead = text[turn.start : own[0].start if own else turn.stop]
        ends = [match.end() for match in _END_OF_REASONING.finditer(lead)]
        if ends:
            stretches.append((turn.start, turn.start + ends[-1] + _white(lead[ends[-1] :])))
    for number, place in enumerate(own):
        if not thoughts[number] or thoughts[number + 1 : number + 2] == [True]:
            continue
        first = number
        while first and thoughts[first - 1]:
            first -= 1
        following = own[number + 1].start if number + 1 < len(own) else turn.stop
        between = text[place.stop : following]
        closing = len(atoms.through_first_control(between)) or len(between)
        start = _opening(text, own[first - 1].stop, own[first].start, atoms) if first else turn.start
        stretches.append((start, place.stop + closing + _white(between[closing:])))
    return stretches


def _opening(text: str, after: int, thought: int, atoms: Atoms) -> int:
    """Where the tag begins that stands before a thought, behind other text of its message."""
    tags = atoms.controls(text[after:thought])
    return after + text[after:thought].rindex(tags[-1]) if tags else thought


def _white(text: str) -> int:
    """How many characters of white space a text begins with."""
    return len(text) - len(text.lstrip())


def prefill_stop(conversation: Conversation, found: list[Place], turn: Turn, text: str) -> int:
    """Where the text ends that the prompt gave of a turn; the turn's start where it gave none.

    Raises:
        ConversationError: the template does not render that text in one piece.
    """
    given = conversation.prefill[turn.index]
    if not given:
        return turn.start
    for place in found:
        leaf, begin = place.part.leaf, place.start - place.part.start  # where the content would begin
        if leaf.message != turn.index or leaf.kind != "content" or not leaf.text.startswith(given):
            continue
        trimmed = min(_white(leaf.text), len(given))
        known = max(len(given), place.part.stop)
        stop = begin + len(given)
        verbatim = text[max(0, begin + trimmed) : begin + known] == leaf.text[trimmed:known]
        if verbatim and stop <= turn.stop and turn.start <= place.stop:
            return max(turn.start, stop)
    raise ConversationError(
        f"messages[{turn.index}].prefill must be rendered in one piece with what follows it, got {given!r} apart from "
        "it or changed: leave the row out",
        kind="prefill",
    )
