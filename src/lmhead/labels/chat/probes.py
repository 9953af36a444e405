"""What a template does around one turn: what inference puts before it, and what follows it.

A probe takes two renders: the prompt, and the turn as the last one (or, of the last one, the turn with a question
behind it). What only few templates make necessary to know is rendered when it is asked for (`Further`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from lmhead.errors import TemplateError
from lmhead.labels.chat.markers import Marked, Rendered
from lmhead.labels.chat.text_fields import leaves
from lmhead.labels.template.chat_template import Message

Render = Callable[[list[Message], bool], str]  # (messages, add_generation_prompt) -> text
LONE_TEXT: Final = "?"
_FOLLOWING: Final[Message] = {"role": "user", "content": LONE_TEXT}  # a turn to follow the last one
ANSWER_TEXT: Final = "!"
_ANSWER: Final[Message] = {"role": "assistant", "content": ANSWER_TEXT}
_SYSTEM: Final[Message] = {"role": "system", "content": LONE_TEXT}
_BEHIND: Final[dict[str, list[Message]]] = {
    "nothing": [],
    "user": [_FOLLOWING],
    "answer": [_ANSWER],
    "system": [_SYSTEM],
}
_FILLER: Final = "\U0010ff00"  # a text for a message that has none
_FIRST_ROLES: Final = ("system", "developer")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoneUser:
    """One user's message rendered alone, which shows how it is opened, and what a generation prompt adds."""

    text: str
    generation_prompt: str  # what the prompt has more than the text; empty where it is not its beginning
    behind: str  # what stands behind the question in the prompt
    between: str | None = None  # behind a question before another; None: not rendered, or the others say enough
    empty: str | None = None  # the same of a conversation without messages or tools
    opener: str  # what stands before the question, without tools if it can be
    system_opener: str | None = None  # what stands before a system's prompt

    @property
    def always_prompts(self) -> bool:
        """Whether a generation prompt stands behind a question even where none is asked for."""
        return not self.generation_prompt and self.between is not None and not self.between.startswith(self.behind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Texts around turn k, each from its last marker on."""

    before: int | None  # the last marker of the prompt; None where it has none
    prompt: str | None  # what inference has between that marker and the turn; None: the template renders no prompt
    final: int | None  # the last marker of the turn; None: it has none
    repeats: int  # how often that marker occurs in the turn
    ending_last: str  # what follows the turn where nothing follows
    ending_followed: str | None  # what follows it where a turn follows; None: the template lets none follow
    further: "Further" = field(compare=False)

    @property
    def lone(self) -> LoneUser | None:
        """One question alone; None where the template renders no such thing."""
        return self.further.lone_user()

    @property
    def bare_prompt(self) -> str | None:
        """The prompt without a generation prompt."""
        return self.further.behind("nothing")

    @property
    def as_user(self) -> str | None:
        """What stands where the prompt does if a user's turn follows; None: the template lets none follow."""
        return self.further.behind("user")

    @property
    def as_answer(self) -> str | None:
        """The same if another answer follows; None: the template lets none follow."""
        return self.further.behind("answer")

    def ending_before(self, role: str) -> str | None:
        """What follows the turn where a question ("user") or another answer does; None: the template lets none."""
        return self.further.behind(f"the turn and {role}")

    @property
    def always_prompts(self) -> bool:
        """Whether a generation prompt stands behind a conversation even where none is asked for."""
        bare, lone = self.bare_prompt, self.lone
        if self.prompt is None or bare is None:
            return lone is not None and lone.always_prompts
        if self.prompt != bare:
            return False
        if self.as_user is not None:
            return not self.as_user.startswith(bare)
        return bool(bare.strip()) and self.ending_last.endswith(bare.split()[-1] + bare[len(bare.rstrip()) :])

    def kept(self, number: Callable[[int], int]) -> "Probe":
        """The probe without the conversation that it was taken in, its markers numbered anew."""
        return self._numbered(number, _nowhere)

    def at(self, place: "Place", number: Callable[[int], int]) -> "Probe":
        """A kept probe at a turn of a conversation, of which further renders are made."""
        return self._numbered(number, place)

    def _numbered(self, number: Callable[[int], int], place: "Place") -> "Probe":
        before, final = (None if marker is None else number(marker) for marker in (self.before, self.final))
        return replace(self, before=before, final=final, further=self.further.at(place))


Place = Callable[[str], Any]  # renders what is asked further of one turn


@dataclass(frozen=True, slots=True)
class Further:
    """What few templates make necessary to know, rendered when it is asked for."""

    place: "Place"
    known: dict[str, Any]  # shared by all turns that the probe is kept for

    def at(self, place: "Place") -> "Further":
        """The same at another turn, which knows it as well."""
        return Further(place, self.known)

    def lone_user(self) -> LoneUser | None:
        """What `lone_user` returns."""
        found = self._asked("lone")
        assert found is None or isinstance(found, LoneUser)
        return found

    def behind(self, what: str) -> str | None:
        """What follows the messages before a turn; None where the template refuses it there."""
        found = self._asked(what)
        assert found is None or isinstance(found, str)
        return found

    def _asked(self, what: str) -> object:
        if what not in self.known:
            self.known[what] = self.place(what)
        return self.known[what]


def _nowhere(what: str) -> object:
    raise AssertionError(f"{what} is asked of a kept probe that is at no turn")


def place(marked: Marked, index: int, render: Render, lone: Callable[[], LoneUser | None]) -> Place:
    """Where further renders are made for the turn that message `index` is: of the messages up to it."""

    def rendered(what: str) -> object:
        if what == "lone":
            return lone()
        if what in _BEHIND:
            return _after_last_marker(marked, render, [*marked.messages[:index], *_BEHIND[what]], False)[1]
        turn, _, follower = what.partition(" and ")
        assert turn == "the turn"
        messages = [*_upto(marked, index), *_BEHIND[follower]]
        followed = _attempt(marked, render, messages, False)
        return None if followed is None else _behind_turn(followed, index)

    return rendered


def probe(marked: Marked, full: Rendered, index: int, render: Render, further: Place) -> Probe | None:
    """The probe of the turn that message `index` is, rendered anew; None where its text leaves no trace.

    A message without any text is given one, and rendered once more as it stands in the conversation.
    """
    messages = marked.messages
    is_last = index == len(messages) - 1
    textless = _textless(marked, index)
    if textless and _FILLER in full.text:
        return None
    as_last = full if is_last and not textless else _as_last(marked, _upto(marked, index), render)
    own = [as_last.markers[entry] for entry in as_last.entries.get(index, [])]
    ending_last = _behind_turn(as_last, index)
    if ending_last is None:
        return None
    before, prompt = _after_last_marker(marked, render, messages[:index], True)
    if textless:
        behind = messages[index + 1 :] or [_FOLLOWING]
        followed = _attempt(marked, render, [*_upto(marked, index), *behind], False)
        ending_followed = None if followed is None else _behind_turn(followed, index)
    else:
        followed = _attempt(marked, render, [*messages, _FOLLOWING], False) if is_last else full
        ending_followed = None if followed is None else _following(followed, own[-1], own.count(own[-1]))
    return Probe(
        before=before,
        prompt=prompt,
        final=own[-1] if own else None,
        repeats=own.count(own[-1]) if own else 0,
        ending_last=ending_last,
        ending_followed=ending_followed,
        further=Further(further, {}),
    )


def _upto(marked: Marked, index: int) -> list[Message]:
    """The messages up to a turn, the turn with a text if it has none."""
    message = marked.messages[index]
    if _textless(marked, index):
        message = {**message, "content": _FILLER}
    return [*marked.messages[:index], message]


def _textless(marked: Marked, index: int) -> bool:
    """Whether a message has no text, and no marker either."""
    if any(leaf.text.strip() for leaf in leaves([marked.messages[index]], None)):
        return False
    return index not in marked.ranges


def _behind_turn(rendered: Rendered, index: int) -> str | None:
    """The text from a turn's last marker on, or behind the text that it was given; None where it leaves no trace."""
    own = [rendered.markers[entry] for entry in rendered.entries.get(index, [])]
    if own:
        return _following(rendered, own[-1], own.count(own[-1]))
    if _FILLER not in rendered.text:
        return None
    begin = rendered.text.rindex(_FILLER)
    stop = next((place for place in rendered.places if place > begin), len(rendered.text))
    return rendered.text[begin + len(_FILLER) : stop]


def _as_last(marked: Marked, messages: list[Message], render: Render) -> Rendered:
    """The conversation up to a turn; where the template wants a question first, with one behind the system's prompt."""
    alone = _attempt(marked, render, messages, False)
    if alone is not None:
        return alone
    begin = next((place for place, message in enumerate(messages) if message["role"] not in _FIRST_ROLES), 0)
    return marked.read(render([*messages[:begin], _FOLLOWING, *messages[begin:]], False))


def lone_user(marked: Marked, render: Render, without_tools: Render) -> LoneUser | None:
    """One question with and without a generation prompt; None where the template renders no such thing.

    Where that does not show what the generation prompt is, also two questions, with an answer between if they have to
    alternate, and no message at all.
    """
    asked, prompted = (_attempt(marked, render, [_FOLLOWING], prompt) for prompt in (False, True))
    if asked is None or prompted is None:
        return None
    opener, _, behind = prompted.text.rpartition(LONE_TEXT)
    fits = prompted.text.startswith(asked.text)
    prompt = prompted.text[len(asked.text) :] if fits else ""
    if prompt and asked.text.rpartition(LONE_TEXT)[2].strip():
        return LoneUser(text=asked.text, generation_prompt=prompt, behind=behind, opener=opener)
    plainly = render if marked.tools is None else without_tools
    empty, plain, system = (
        _attempt(marked, plainly, messages, False) for messages in ([], [_FOLLOWING], [_SYSTEM, _FOLLOWING])
    )
    shown = (
        system is not None
        and system.text.count(LONE_TEXT) == (asked if plain is None else plain).text.count(LONE_TEXT) + 1
    )
    return LoneUser(
        text=asked.text,
        generation_prompt=prompt,
        behind=behind,
        between=_between_questions(marked, render),
        empty=None if empty is None else empty.text,
        opener=opener if plain is None else plain.text.rpartition(LONE_TEXT)[0],
        system_opener=system.text.partition(LONE_TEXT)[0] if system is not None and shown else None,
    )


def _between_questions(marked: Marked, render: Render) -> str | None:
    for before, text in (([_FOLLOWING], LONE_TEXT), ([_FOLLOWING, _ANSWER], ANSWER_TEXT)):
        rendered = _attempt(marked, render, [*before, _FOLLOWING], False)
        if rendered is not None:
            return rendered.text.rpartition(LONE_TEXT)[0].rpartition(text)[2]
    return None


def place_of(rendered: Rendered, marker: int, repeat: int) -> int | None:
    """Which entry of `rendered.markers` is the `repeat`-th occurrence (from 1) of a marker."""
    if rendered.markers.count(marker) < repeat:
        return None
    entry = -1
    for _ in range(repeat):
        entry = rendered.markers.index(marker, entry + 1)
    return entry


def _following(rendered: Rendered, marker: int, repeat: int) -> str | None:
    """The text from the marker to the next marker that is not its own repetition, or to the end."""
    entry = place_of(rendered, marker, repeat)
    if entry is None:
        return None
    stop = rendered.places[entry + 1] if entry + 1 < len(rendered.places) else len(rendered.text)
    return rendered.text[rendered.places[entry] : stop]


def _after_last_marker(
    marked: Marked, render: Render, messages: list[Message], prompt: bool
) -> tuple[int | None, str | None]:
    try:
        rendered = marked.read_end(render(messages, prompt))
    except TemplateError:
        return None, None
    if not rendered.markers:
        return None, rendered.text
    return rendered.markers[-1], rendered.text[rendered.places[-1] :]


def _attempt(marked: Marked, render: Render, messages: list[Message], prompt: bool) -> Rendered | None:
    """A render that the template may refuse: it may want a user's turn first, or turns that alternate."""
    try:
        return marked.read(render(messages, prompt))
    except TemplateError:
        return None
