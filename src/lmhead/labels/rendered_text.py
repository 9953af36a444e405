"""Which text of a conversation a render holds, which it dropped, and which of it is reasoning."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from lmhead.errors import ConversationError
from lmhead.labels.atoms import Atoms
from lmhead.labels.conversation import ASSISTANT, Conversation
from lmhead.labels.example import Note
from lmhead.labels.leaves import TOOLS, leaves
from lmhead.labels.markers import Marked, Part, Rendered
from lmhead.labels.turns import Turn

_END_OF_REASONING: Final = re.compile(
    r"</(?:think|thinking|thought|reasoning|analysis|seed:think)>|\[/THINK\]|<\|END_THINKING\|>|<\|end_of_thought\|>"
)
_OPENINGS: Final = ("</", "[/", "<|")  # of every alternative: looking for these costs less


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


def dropped(
    conversation: Conversation, marked: Marked, found: list[Place], turns: list[Turn], text: str
) -> Iterator[tuple[int, str]]:
    """(message, what) for every text that the template did not render; a trained one must be in its turn.

    Reasoning may be left out: many templates do that on purpose, in all turns but the last.
    """
    within = {turn.index: (turn.start, turn.stop) for turn in turns}
    present = set()
    for place in found:
        start, stop = within.get(place.part.leaf.message, (0, place.stop))
        if start <= place.start and place.stop <= stop:
            present.add(id(place.part))
    for part in marked.parts:
        if id(part) not in present and not is_reasoning(conversation, part):
            yield part.leaf.message, _name(part)
    schemas = [leaf.text for leaf in leaves([], conversation.tools)]
    marked_schemas = any(part.leaf.message == TOOLS for part in marked.parts)
    if schemas and not marked_schemas and not any(schema in text for schema in schemas):
        yield TOOLS, "tool_schema"


def is_reasoning(conversation: Conversation, part: Part) -> bool:
    """Whether a part is what an assistant thought: its own field, or a content's text before the end of a thought."""
    if part.leaf.kind == "reasoning":
        return True
    assistant = part.leaf.message != TOOLS and conversation.messages[part.leaf.message]["role"] == ASSISTANT
    if not assistant or part.leaf.kind != "content" or not any(opening in part.leaf.text for opening in _OPENINGS):
        return False
    return bool(_END_OF_REASONING.search(part.leaf.text, part.stop))


def refusal_or_notes(missing: list[tuple[int, str]], trained: set[int], allowed: bool) -> list[Note]:
    """A note for each message whose text was dropped, where that is allowed and the message is not trained.

    Raises:
        ConversationError: it is not allowed.
    """
    notes: dict[int, Note] = {}
    for index, what in missing:
        where = "tools" if index == TOOLS else f"messages[{index}].{what}"
        if index in trained or not allowed:
            raise ConversationError(
                f"{where} must be rendered by the chat template, got a text without it: the model would be trained "
                "without what the data says"
                + ("" if index in trained else "; dropped_text='note' labels the conversation all the same"),
                kind="dropped_text",
            )
        text = f"the chat template does not render {where}"
        notes.setdefault(index, Note(kind="message_dropped", message=max(index, 0), text=text))
    return list(notes.values())


def reasoning_notes(conversation: Conversation, marked: Marked, found: list[Place]) -> Iterator[Note]:
    """A note for each assistant's message with reasoning of which nothing is in the render."""
    present = {place.part.leaf.message for place in found if is_reasoning(conversation, place.part)}
    thinking = {part.leaf.message for part in marked.parts if is_reasoning(conversation, part)}
    for index in sorted(thinking - present):
        text = "the chat template does not render its reasoning here"
        yield Note(kind="reasoning_dropped", message=index, text=text)


def reasoning_stop(conversation: Conversation, found: list[Place], turn: Turn, text: str, atoms: Atoms) -> int:
    """Where a turn's reasoning ends, the tag that closes it included; the turn's start where it has none."""
    own = [place for place in found if place.part.leaf.message == turn.index and place.start >= turn.start]
    thoughts = [place for place in own if is_reasoning(conversation, place.part) and place.stop <= turn.stop]
    if not thoughts:
        return turn.start
    stop = thoughts[-1].stop
    following = min((place.start for place in own if place.start >= stop), default=turn.stop)
    between = text[stop:following]
    closing = len(atoms.through_first_control(between)) or len(between)
    return stop + closing + len(between[closing:]) - len(between[closing:].lstrip())


def _name(part: Part) -> str:
    return {"content": "content", "call": "tool_calls"}.get(part.leaf.kind, part.leaf.kind)
