"""What a template does around one turn: what inference puts before it, and what follows it.

A probe takes two renders. What only few templates make necessary to know is rendered when it is asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from lmhead.errors import TemplateError
from lmhead.labels.markers import Marked, Rendered
from lmhead.labels.template import Message

Render = Callable[[list[Message], bool], str]  # (messages, add_generation_prompt) -> text
LONE_TEXT: Final = "?"
_FOLLOWING: Final[Message] = {"role": "user", "content": LONE_TEXT}  # a turn to follow the last one
_ANSWER: Final[Message] = {"role": "assistant", "content": "!"}
_BEHIND: Final[dict[str, list[Message]]] = {"nothing": [], "user": [_FOLLOWING], "answer": [_ANSWER]}


@dataclass(frozen=True, slots=True)
class LoneUser:
    """One user's message rendered alone, which shows what a generation prompt adds."""

    text: str
    generation_prompt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Texts around turn k, each from its last marker on."""

    before: int | None  # the last marker of the prompt; None where it has none
    prompt: str | None  # what inference has between that marker and the turn; None: the template renders no prompt
    final: int  # the last marker of the turn
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
        """The same if an assistant's turn follows, in a template that knows no prompt there; else None."""
        return self.further.behind("answer") if self.prompt is not None and self.prompt == self.bare_prompt else None

    def kept(self, number: Callable[[int], int]) -> "Probe":
        """The probe without the conversation that it was taken in, its markers numbered anew."""
        before = None if self.before is None else number(self.before)
        return replace(self, before=before, final=number(self.final), further=self.further.at(_nowhere))

    def at(self, place: "Place", number: Callable[[int], int]) -> "Probe":
        """A kept probe at a turn of a conversation, of which further renders are made."""
        before = None if self.before is None else number(self.before)
        return replace(self, before=before, final=number(self.final), further=self.further.at(place))


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
    """Where further renders are made for the turn that message `index` is."""

    def rendered(what: str) -> object:
        if what == "lone":
            return lone()
        return _after_last_marker(marked, render, [*marked.messages[:index], *_BEHIND[what]], False)[1]

    return rendered


def probe(marked: Marked, full: Rendered, index: int, render: Render, further: Place) -> Probe | None:
    """The probe of the turn that message `index` is, rendered anew."""
    messages = marked.messages
    is_last = index == len(messages) - 1
    as_last = full if is_last else _as_last(marked, messages[: index + 1], render)
    own = [as_last.markers[entry] for entry in as_last.entries.get(index, [])]
    if not own:
        return None
    final, repeats = own[-1], own.count(own[-1])
    before, prompt = _after_last_marker(marked, render, messages[:index], True)
    followed = _attempt(marked, render, [*messages, _FOLLOWING], False) if is_last else full
    ending_last = _following(as_last, final, repeats)
    assert ending_last is not None
    return Probe(
        before=before,
        prompt=prompt,
        final=final,
        repeats=repeats,
        ending_last=ending_last,
        ending_followed=None if followed is None else _following(followed, final, repeats),
        further=Further(further, {}),
    )


def _as_last(marked: Marked, messages: list[Message], render: Render) -> Rendered:
    """The conversation up to a turn; behind a question where the template wants one."""
    alone = _attempt(marked, render, messages, False)
    return alone or marked.read(render([_FOLLOWING, *messages], False))


def lone_user(marked: Marked, render: Render) -> LoneUser | None:
    """One question with and without a generation prompt; None where the template renders no such thing."""
    asked, prompted = (_attempt(marked, render, [_FOLLOWING], prompt) for prompt in (False, True))
    if asked is None or prompted is None or not prompted.text.startswith(asked.text):
        return None
    return LoneUser(asked.text, prompted.text[len(asked.text) :])


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
    rendered = _attempt(marked, render, messages, prompt)
    if rendered is None:
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
