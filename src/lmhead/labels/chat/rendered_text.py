"""Which text of a conversation a render holds, which it dropped, and which of it is reasoning."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lmhead.errors import ConversationError
from lmhead.labels.chat.atoms import Atoms
from lmhead.labels.chat.markers import Marked, Part, Rendered
from lmhead.labels.chat.text_fields import TOOLS
from lmhead.labels.chat.turns import Turn
from lmhead.labels.conversation.conversation import ASSISTANT, Conversation
from lmhead.labels.conversation.thoughts import END_OF_THOUGHT, Thought, opens_thought, thoughts
from lmhead.labels.example import Note


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
    """Whether a part is what an assistant thought: its own field, or a thought that is written in a content."""
    return part.leaf.kind == "reasoning" or _thought(conversation, part) is not None


def may_be_left_out(conversation: Conversation, part: Part, prompt_thinks: Callable[[], bool]) -> bool:
    """Whether a part is reasoning by its form, as templates leave it out: a field, or a thought that leads a content.

    A thought that no tag opens is one where the prompt opens it.
    """
    if part.leaf.kind == "reasoning":
        return True
    thought = _thought(conversation, part)
    return thought is not None and thought.leading and thought.closed and (thought.opened or prompt_thinks())


def _thought(conversation: Conversation, part: Part) -> Thought | None:
    """The thought in an assistant's content that a part belongs to."""
    leaf = part.leaf
    if leaf.kind != "content" or leaf.message == TOOLS or conversation.messages[leaf.message]["role"] != ASSISTANT:
        return None
    return next((thought for thought in thoughts(leaf.text) if thought.holds(part.start, part.stop)), None)


def guess_notes(
    conversation: Conversation, found: list[Place], turns: list[Turn], text: str, train_reasoning: bool
) -> Iterator[Note]:
    """A note for each turn of which text is taken for reasoning by one tag alone, that opens it or that closes it."""
    by_index = {turn.index: turn for turn in turns}
    noted = set()
    for place in found:
        turn = by_index.get(place.part.leaf.message)
        if turn is None or turn.index in noted or not turn.start <= place.start < turn.stop:
            continue
        thought = _thought(conversation, place.part)
        if thought is None or (thought.opened and (thought.closed or train_reasoning)):
            continue
        if thought.opened:
            told = "an opening tag that nothing closes: what follows is not learnt, as reasoning"
        elif opens_thought(text[: turn.start]) or (train_reasoning and not opens_thought(text[: place.start])):
            continue  # the prompt opened it; or it is learnt as it stands
        else:
            told = "a closing tag that nothing opens: what stands before it is taken for reasoning"
        noted.add(turn.index)
        yield Note(kind="reasoning_guessed", message=turn.index, text=f"the content has {told}")


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
        ends = [match.end() for match in END_OF_THOUGHT.finditer(lead)]
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
