"""What a template does around one turn: what inference puts before it, and what follows it.

A probe takes up to six renders, so probes are kept. Conversations with one skeleton (roles, fields, unmarked values,
white space around texts, the template's own literals in them) differ in marked text alone, and share their probes:
where they hold, a conversation costs two renders. What a template does with a text's LENGTH is not in the skeleton, so
a kept probe is used only where the same characters stand around the turn as when it was taken.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from lmhead.errors import TemplateError
from lmhead.labels.markers import Marked, Rendered
from lmhead.labels.template import Message

Render = Callable[[list[Message], bool], str]  # (messages, add_generation_prompt) -> text
_MOST_KEPT: Final = 4096  # skeletons; some kilobytes each
LONE_TEXT: Final = "?"
_FOLLOWING: Final[Message] = {"role": "user", "content": LONE_TEXT}  # a turn to follow the last one
_ANSWER: Final[Message] = {"role": "assistant", "content": "!"}


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
    bare_prompt: str | None  # the same without a generation prompt
    as_user: str | None  # what stands there where a user's turn follows; None: the template lets none follow
    as_answer: str | None  # where an assistant's turn follows, in a template that knows no prompt there
    lone: "LoneUser | None"
    final: int  # the last marker of the turn
    repeats: int  # how often that marker occurs in the turn
    ending_last: str  # what follows the turn where nothing follows
    ending_followed: str | None  # what follows it where a turn follows; None: the template lets none follow


@dataclass(frozen=True, slots=True)
class _Kept:
    probe: Probe | None
    around: tuple[str, str]  # what stood before and behind the turn in the render where the probe was taken


class Probes:
    """Probes of one template, kept by skeleton. `keep=False` takes each anew: slower, and equal."""

    def __init__(self, *, keep: bool = True) -> None:
        self._keep = keep
        self._kept: OrderedDict[Hashable, dict[int, _Kept]] = OrderedDict()

    def of(
        self, marked: Marked, variables: Hashable, full: Rendered, indices: list[int], render: Render
    ) -> dict[int, Probe | None]:
        """The probes of the turns that messages `indices` are; None for one that leaves no trace as the last turn.

        Args:
            variables: what else the render depends on.
            full: the whole conversation's render.
        """
        key = (marked.skeleton, variables)
        known = self._kept.setdefault(key, {}) if self._keep else {}
        around = {index: _around(full, index) for index in indices}
        if missing := [index for index in indices if index not in known or known[index].around != around[index]]:
            lone = _lone_user(marked, render)
            for index in missing:
                known[index] = _Kept(probe(marked, full, index, render, lone), around[index])
        if self._keep:
            self._kept.move_to_end(key)
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return {index: known[index].probe for index in indices}


def probe(marked: Marked, full: Rendered, index: int, render: Render, lone: LoneUser | None) -> Probe | None:
    """The probe of the turn that message `index` is, rendered anew."""
    messages = marked.messages
    is_last = index == len(messages) - 1
    as_last = full if is_last else _as_last(marked, messages[: index + 1], render)
    own = [as_last.markers[entry] for entry in as_last.entries.get(index, [])]
    if not own:
        return None
    final, repeats = own[-1], own.count(own[-1])
    before, prompt = _after_last_marker(marked, render, messages[:index], True)
    _, bare_prompt = _after_last_marker(marked, render, messages[:index], False)
    _, as_user = _after_last_marker(marked, render, [*messages[:index], _FOLLOWING], False)
    as_answer = None
    if prompt is not None and prompt == bare_prompt:
        _, as_answer = _after_last_marker(marked, render, [*messages[:index], _ANSWER], False)
    followed = _attempt(marked, render, [*messages, _FOLLOWING], False) if is_last else full
    ending_last = _following(as_last, final, repeats)
    assert ending_last is not None
    return Probe(
        before=before,
        prompt=prompt,
        bare_prompt=bare_prompt,
        as_user=as_user,
        as_answer=as_answer,
        lone=lone,
        final=final,
        repeats=repeats,
        ending_last=ending_last,
        ending_followed=None if followed is None else _following(followed, final, repeats),
    )


def _around(full: Rendered, index: int) -> tuple[str, str]:
    """The text between a turn's markers and the markers before and behind them."""
    own = full.entries.get(index)
    if not own:
        return "", ""
    first, last, places = own[0], own[-1], full.places
    before = full.text[places[first - 1] if first else 0 : places[first]]
    return before, full.text[places[last] : places[last + 1] if last + 1 < len(places) else None]


def _as_last(marked: Marked, messages: list[Message], render: Render) -> Rendered:
    """The conversation up to a turn; behind a question where the template wants one."""
    alone = _attempt(marked, render, messages, False)
    return alone or marked.read(render([_FOLLOWING, *messages], False))


def _lone_user(marked: Marked, render: Render) -> LoneUser | None:
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
