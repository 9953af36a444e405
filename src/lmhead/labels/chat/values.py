"""Whether all that a conversation holds stands in its render, and whether it stands there as what it is.

Texts with markers show where they are. A number, a boolean or a null shows between the markers of its name and of what
follows; a text that has no markers, because the template let weaker ones through alone, is searched for.
"""

import json
import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from lmhead.errors import ConversationError
from lmhead.labels.chat.markers import LEVELS, Marked, Part, Rendered
from lmhead.labels.chat.rendered_text import Place, may_be_left_out
from lmhead.labels.chat.text_fields import TOOLS, Leaf, LeafKind, Path, Value, leaves_and_values, media
from lmhead.labels.chat.turns import Turn
from lmhead.labels.conversation.conversation import Conversation
from lmhead.labels.conversation.metadata_keys import METADATA
from lmhead.labels.example import Note, NoteKind
from lmhead.options import option

_Key = tuple[int, LeafKind, Path]
_ARGUMENTS = frozenset({"arguments", "input", "parameters"})


@dataclass(slots=True)
class _Proof:
    """What is to be shown of one conversation, and where its texts stand."""

    conversation: Conversation
    text: str
    within: dict[int, tuple[int, int]]  # where the text of a message that is learnt has to stand
    prompt_thinks: Callable[[], bool]  # whether the generation prompt opens a thought
    parts: dict[_Key, list[Part]] = field(default_factory=dict)
    places: dict[int, list[Place]] = field(default_factory=dict)  # by the id of a part
    borders: list[int] = field(default_factory=list)  # where marked texts begin


def check_values(
    conversation: Conversation,
    marked: Marked,
    rendered: Rendered,
    found: list[Place],
    turns: list[Turn],
    *,
    allowed: bool,
    prompt_thinks: Callable[[], bool],
) -> list[Note]:
    """Notes on what the template leaves out or writes as Python does, where that is allowed and not learnt.

    Reasoning may be left out, whole: many templates do that on purpose, in all turns but the last.

    Raises:
        ConversationError: a value is not rendered (dropped_text), is media (media), or is learnt as Python text, as a
            block in JSON or as JSON in JSON (python_text, printed_block, json_twice).
    """
    within = {turn.index: (turn.start, turn.stop) for turn in turns}
    proof = _Proof(conversation, rendered.text, within, prompt_thinks)
    for place in found:
        start, stop = within.get(place.part.leaf.message, (0, place.stop))
        if start <= place.start and place.stop <= stop:
            proof.places.setdefault(id(place.part), []).append(place)
    notes = [*_media_notes(proof, allowed), *_python_notes(rendered, turns), *_unread_notes(proof)]
    if marked.level == LEVELS[0] and len(proof.places) == len(marked.parts) and _texts_alone(conversation):
        return notes  # every text has markers, and all of these are where they belong
    for part in marked.parts:
        proof.parts.setdefault(_key(part.leaf), []).append(part)
    proof.borders = [place.start for place in found]
    return [*notes, *_value_notes(proof, allowed)]


def _texts_alone(conversation: Conversation) -> bool:
    """Whether a conversation has no calls, no tools and no blocks: nothing in it but strings."""
    return conversation.tools is None and not any(
        "tool_calls" in message or "function_call" in message or isinstance(message.get("content"), list)
        for message in conversation.messages
    )


def _value_notes(proof: _Proof, allowed: bool) -> Iterator[Note]:
    noted = set()
    for index, path, what, note in _findings(proof):
        if note is not None:
            yield Note(kind=note, message=index if index >= 0 else None, text=what)
            continue
        if index in proof.within or not allowed:
            raise ConversationError(
                f"{_shown(index, path)} must be rendered by the chat template, got a text without {what}: the model "
                "would be trained without what the data says"
                + (
                    ""
                    if index in proof.within
                    else f"; {option('dropped_text', 'note')} labels the conversation all the same"
                ),
                kind="dropped_text",
            )
        if index not in noted:
            noted.add(index)
            text = f"the chat template does not render {_shown(index, path)}"
            yield Note(kind="message_dropped", message=max(index, 0), text=text)


def _findings(proof: _Proof) -> Iterator[tuple[int, Path, str, NoteKind | None]]:
    """(message, path, what, kind of note or None) for all that does not stand in the render as what it is."""
    anchor: Place | None = None
    reached = 0
    conversation = proof.conversation
    for entry in leaves_and_values(conversation.messages, conversation.tools):
        if isinstance(entry, Value):
            _check_number(entry)
            where = _stands(proof, entry, anchor, reached)
            if where is None and entry.value is None:
                what = f"the chat template leaves out {_shown(entry.message, entry.path)}, which is null"
                yield entry.message, entry.path, what, "null_dropped"
            elif where is None:
                yield entry.message, entry.path, json.dumps(entry.value), None
            else:
                reached = where.end()
                if where.group() in ("True", "False", "None"):
                    what = f"{_shown(entry.message, entry.path)} is written as Python's {where.group()}"
                    yield entry.message, entry.path, what, "python_text"
            continue
        parts = proof.parts.get(_key(entry))
        place = _last_place(proof, parts) if parts else None
        if place:
            anchor, reached = place, place.stop
        if entry.kind == "argument_name" or not (parts or entry.text.strip()):
            continue
        yield from _text_findings(proof, entry, parts)


def _check_number(value: Value) -> None:
    """Raise ConversationError for a number that JSON does not have."""
    if isinstance(value.value, float) and not math.isfinite(value.value):
        raise ConversationError(
            f"{_shown(value.message, value.path)} must be a number that JSON has, got {value.value}: write null, or a "
            "string",
            kind="format",
        )


def _text_findings(
    proof: _Proof, leaf: Leaf, parts: list[Part] | None
) -> Iterator[tuple[int, Path, str, NoteKind | None]]:
    if parts is None:
        if leaf.kind != "reasoning" and not _searched(proof, leaf):
            yield leaf.message, leaf.path, _brief(leaf.text), None
        return
    for part in parts:
        stands = proof.places.get(id(part))
        if not stands:
            if not _left_out(proof, part, parts):
                yield leaf.message, leaf.path, _brief(leaf.text[part.start : part.stop]), None
        elif leaf.kind == "call":
            if leaf.path[-1] in _ARGUMENTS:
                _check_once(proof, leaf, part, stands)
        elif len(leaf.path) > 1 and leaf.message != TOOLS and part is parts[0]:
            yield from _printed(proof, leaf, stands)


def _left_out(proof: _Proof, missing: Part, parts: list[Part]) -> bool:
    """Whether a part is missing with all the reasoning of its text. One of two thoughts alone would be lost."""
    conversation, opens = proof.conversation, proof.prompt_thinks
    return may_be_left_out(conversation, missing, opens) and not any(
        id(part) in proof.places and may_be_left_out(conversation, part, opens) for part in parts
    )


def _printed(proof: _Proof, leaf: Leaf, stands: list[Place]) -> Iterator[tuple[int, Path, str, NoteKind | None]]:
    """A block of text is written as its text, not as the JSON of the block."""
    written = re.compile(rf"""\\*"{re.escape(str(leaf.path[-1]))}\\*":\s*\\*"(?:\\+[nrt]|\s)*$""")
    for place in stands:
        before = proof.text[max(0, place.start - 100) : place.start]
        if not written.search(before):
            continue
        where = _shown(leaf.message, leaf.path)
        if leaf.message in proof.within:
            raise ConversationError(
                f"{where} must be rendered as text, got the block as JSON: {_around(proof.text, place.start)}: the "
                "chat template prints what it should write as text",
                kind="printed_block",
            )
        yield leaf.message, leaf.path, f"the chat template writes the block of {where} as JSON", "printed_block"
        return


def _check_once(proof: _Proof, leaf: Leaf, part: Part, stands: list[Place]) -> None:
    """Arguments that are JSON already stand as such, not as a string in JSON."""
    wanted = leaf.text[part.start : part.stop]
    for place in stands:
        got = proof.text[place.start : place.stop]
        if leaf.message in proof.within and got != wanted and '\\"' in got and got.count('\\"') > wanted.count('\\"'):
            raise ConversationError(
                f"{_shown(leaf.message, leaf.path)} must be rendered as the JSON that it is, got JSON in a string: "
                f"{_brief(got)}: give the arguments as an object",
                kind="json_twice",
            )


def _stands(proof: _Proof, value: Value, anchor: Place | None, reached: int) -> re.Match[str] | None:
    """Where a value stands: behind the name or the text that precedes it, or anywhere if those have no markers."""
    pattern = _pattern(value.value)
    start, stop = proof.within.get(value.message, (0, len(proof.text)))
    if anchor is None or anchor.part.leaf.message != value.message or value.message == TOOLS:
        return pattern.search(proof.text, start, stop)
    entry = bisect_left(proof.borders, anchor.stop)
    following = proof.borders[entry] if entry < len(proof.borders) else stop
    return pattern.search(proof.text, max(reached, anchor.stop), following)


def _pattern(value: object) -> re.Pattern[str]:
    """A value as JSON or Python writes it, as a word of its own."""
    if isinstance(value, str):
        return re.compile(re.escape(value.strip()))
    written = {json.dumps(value), str(value)}
    words = "|".join(re.escape(each) for each in sorted(written, key=len, reverse=True))
    return re.compile(rf"(?<![\w.+-])(?:{words})(?![\w]|\.\d)")


def _searched(proof: _Proof, leaf: Leaf) -> bool:
    """Whether a text without markers stands in the render, as it is or as JSON writes it."""
    start, stop = proof.within.get(leaf.message, (0, len(proof.text)))
    text = leaf.text.strip()
    forms = (text, json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1])
    return any(proof.text.find(form, start, stop) >= 0 for form in forms)


def _last_place(proof: _Proof, parts: Sequence[Part]) -> Place | None:
    stands = proof.places.get(id(parts[-1]))
    return stands[-1] if stands else None


def _media_notes(proof: _Proof, allowed: bool) -> Iterator[Note]:
    for index, path, kind in media(proof.conversation.messages):
        where = _shown(index, path)
        if index in proof.within or not allowed:
            raise ConversationError(
                f"{where} must be text, got {_brief(kind)}: a model of text gets no features of it"
                + (
                    ""
                    if index in proof.within
                    else f"; {option('dropped_text', 'note')} labels the conversation all the same"
                ),
                kind="media",
            )
        yield Note(
            kind="no_features", message=index, text=f"{where} is {_brief(kind)}, of which the model gets no features"
        )


def _python_notes(rendered: Rendered, turns: list[Turn]) -> Iterator[Note]:
    """A note where the prompt has a list, a dictionary or a text as Python's repr writes it."""
    for turn in turns:
        for place in rendered.python:
            if turn.start <= place <= turn.stop:
                raise ConversationError(
                    f"messages[{turn.index}] must be rendered as text or JSON, got Python's repr, as in "
                    f"{_around(rendered.text, place)}: the chat template prints what it should write as text",
                    kind="python_text",
                )
    if rendered.python:
        shown = _around(rendered.text, rendered.python[0])
        yield Note(kind="python_text", text=f"the chat template prints Python's repr of what it is given: {shown}")


def _unread_notes(proof: _Proof) -> Iterator[Note]:
    """A note for each key of a message that is known neither as text nor as metadata, and stands nowhere."""
    for index, message in enumerate(proof.conversation.messages):
        for key in message.keys() - METADATA - _READ_KEYS:
            if not all(_pattern(item).search(proof.text) for item in _items(message[key])):
                text = f"the chat template does not render {_shown(index, (key,))}"
                yield Note(kind="key_dropped", message=index, text=text)


_READ_KEYS = frozenset(
    {"content", "tool_calls", "function_call", "refusal", "reasoning_content", "reasoning", "thinking", "tool_plan"}
)


def _items(value: object) -> Iterator[object]:
    """The strings, numbers and booleans in a value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _items(item)
    elif value is not None and value != "":
        yield value


def _key(leaf: Leaf) -> _Key:
    return leaf.message, leaf.kind, leaf.path


def _shown(index: int, path: Path) -> str:
    """A JSON path, from the conversation on."""
    begin = "tools" if index == TOOLS else f"messages[{index}]"
    return begin + "".join(_step(step) for step in path)


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if re.fullmatch(r"\w{1,80}", step) else f"[{_brief(step)}]"


def _brief(text: str) -> str:
    return repr(text) if len(text) <= 60 else f"{text[:57]!r}..."


def _around(text: str, place: int) -> str:
    begin, end = max(0, place - 20), place + 40
    return ("..." if begin else "") + repr(text[begin:end]) + ("..." if end < len(text) else "")
