"""Probes of one template, shared where that is shown to make no difference: what labelling costs is decided here.

A probe takes two renders of all that precedes a turn. Three things spare them:

- Conversations with one skeleton (roles, fields, unmarked values, white space around texts, the template's own literals
  in them) share their probes: where they hold, a conversation costs two renders.
- In a long conversation the probe of a turn is taken in its window (windows.py), and windows of one skeleton share it.
- Whether windows tell what the whole conversation tells is examined at some turns of every conversation
  (examined_turns.py). Where one of them finds another turn than its window did, all turns are examined in the whole.

What a template does with a text's LENGTH is in no skeleton, so a probe is used only where the same characters stand
around the turn as where it was taken.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from typing import Final, Generic, TypeVar

from lmhead.errors import ConversationError, TemplateError
from lmhead.labels.chat.examined_turns import examined
from lmhead.labels.chat.markers import Marked, Rendered
from lmhead.labels.chat.probes import LoneUser, Place, Probe, Render, lone_user, place, probe
from lmhead.labels.chat.windows import Surroundings, Windows
from lmhead.labels.conversation.call_ids import written

_MOST_KEPT: Final = 65_536  # probes; about a kilobyte each
_MOST_SHORT: Final = 4  # turns of a conversation that are all examined in the whole of it

Find = Callable[[int, Probe | None], object]  # a turn, given the message that it is and its probe


@dataclass(frozen=True, slots=True)
class _Kept:
    probe: Probe | None
    around: Surroundings  # in the render where the probe was taken


class Probes:
    """Probes of one template. `keep=False` takes each anew, in the whole conversation: slower, and equal."""

    def __init__(self, *, keep: bool = True) -> None:
        self._keep = keep
        self._kept: _Store[dict[int, _Kept]] = _Store(_MOST_KEPT)
        self._windows: _Store[Probe] = _Store(_MOST_KEPT)

    def of(
        self,
        marked: Marked,
        variables: Hashable,
        full: Rendered,
        indices: list[int],
        render: Render,
        without_tools: Render,
        find: Find,
    ) -> dict[int, Probe | None]:
        """The probes of the turns that messages `indices` are; None for one that leaves no trace as the last turn.

        Args:
            variables: what else the render depends on.
            full: the whole conversation's render.
            find: what a probe is used for: two that lead to the same are the same. It may raise ConversationError.
        """
        turns = _Turns(marked, full, render, without_tools, variables, find)
        if not self._keep:
            turns.check(indices[:1])
            return {index: turns.examined(index) for index in indices}
        key = marked.skeleton(full.text), variables
        known = self._kept.get(key) or {}
        around = {index: Surroundings.of(full, index) for index in indices}
        missing = [index for index in indices if index not in known or known[index].around != around[index]]
        turns.check([index for index in indices[:1] if index in missing])
        taken = self._taken(turns, missing, around)
        if taken and not _of_this_alone(marked.all_ids, list(taken.values()), [full.text]):
            kept = {index: _Kept(one and one.kept(_same), around[index]) for index, one in taken.items()}
            known = known | kept
            self._kept.put(key, known, size=len(known))
        return {index: taken[index] if index in taken else turns.at(index, known[index].probe) for index in indices}

    def _taken(self, turns: "_Turns", missing: list[int], around: dict[int, Surroundings]) -> dict[int, Probe | None]:
        """The probes of turns that are not known: in their windows, where these tell what the whole tells."""
        if len(missing) <= _MOST_SHORT:
            return {index: turns.examined(index) for index in missing}
        seen = partial(self._in_window, turns, Windows(turns.marked))
        whole = examined(turns.marked, missing)
        for index in whole:
            guess = seen(index, around[index])
            try:
                trusted = guess is None or turns.alike(index, guess, turns.examined(index))
            except TemplateError:  # it may refuse an earlier turn as well
                trusted = False
            if not trusted:
                return {index: turns.examined(index) for index in missing}
        guesses = {index: seen(index, around[index]) for index in set(missing).difference(whole)}
        return {index: guesses.get(index) or turns.examined(index) for index in missing}

    def _in_window(self, turns: "_Turns", windows: Windows, index: int, around: Surroundings) -> Probe | None:
        """The probe of a turn in its window; None where other characters stand around the turn there."""
        window = windows.around(index)
        if not around.markers or None in map(window.local, around.markers):
            return None
        key = window.shape(around), turns.variables
        kept = self._windows.get(key)

        within = cache(window.marked)

        def further(what: str) -> object:
            return place(within(), window.place, turns.render, turns.lone)(what)

        if kept is None:
            taken = _taken_in(within(), window.place, around, turns.render, further)
            if taken is None or _of_this_alone(window.ids, [taken], around.texts):
                return taken
            kept = taken.kept(window.local_of)
            self._windows.put(key, kept, size=1)
        return kept.at(further, window.whole)


class _Turns:
    """The turns of one conversation, examined in the whole of it."""

    def __init__(
        self,
        marked: Marked,
        full: Rendered,
        render: Render,
        without_tools: Render,
        variables: Hashable,
        find: Find,
    ) -> None:
        self.marked = marked
        self.render = render
        self.variables = variables
        self._full = full
        self._find = find
        self._examined: dict[int, Probe | None] = {}
        self.lone: Callable[[], LoneUser | None] = cache(partial(lone_user, marked, render, without_tools))

    def examined(self, index: int) -> Probe | None:
        """The probe of a turn, taken anew."""
        if index not in self._examined:
            self._examined[index] = probe(self.marked, self._full, index, self.render, self._place(index))
        return self._examined[index]

    def check(self, first: list[int]) -> None:
        """The first turn is found, or refuses the conversation before any other is looked at."""
        for index in first:
            self._find(index, self.examined(index))

    def at(self, index: int, kept: Probe | None) -> Probe | None:
        """A probe that was kept from another conversation."""
        return None if kept is None else kept.at(self._place(index), _same)

    def alike(self, index: int, one: Probe, other: Probe | None) -> bool:
        """Whether two probes are equal, and lead to the same."""
        return one == other and self._outcome(index, one) == self._outcome(index, other)

    def _outcome(self, index: int, found: Probe | None) -> object:
        try:
            return self._find(index, found)
        except ConversationError as error:
            return str(error)

    def _place(self, index: int) -> Place:
        return place(self.marked, index, self.render, self.lone)


def _taken_in(marked: Marked, index: int, around: Surroundings, render: Render, further: Place) -> Probe | None:
    """The probe of a turn in a window; None where the template refuses it, or shows the turn otherwise there."""
    try:
        full = marked.read(render(marked.messages, False))
        return probe(marked, full, index, render, further) if Surroundings.of(full, index) == around else None
    except TemplateError:
        return None


def _of_this_alone(ids: list[str], probes: list[Probe | None], around: Iterable[str]) -> bool:
    """Whether probes hold an id that does not stand around their turns: a conversation alike may have another one."""
    found = [one for one in probes if one is not None] if ids else []
    texts = [text for one in found for text in (one.prompt, one.ending_last, one.ending_followed) if text]
    return written(ids, ["\0".join(texts)]) and not written(ids, around)


def _same(marker: int) -> int:
    return marker


ValueT = TypeVar("ValueT")


class _Store(Generic[ValueT]):
    """The values used last, up to a total size."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._found: OrderedDict[Hashable, tuple[ValueT, int]] = OrderedDict()

    def get(self, key: Hashable) -> ValueT | None:
        """The value of a key, if it is there."""
        if key not in self._found:
            return None
        self._found.move_to_end(key)
        return self._found[key][0]

    def put(self, key: Hashable, value: ValueT, *, size: int) -> None:
        """Keeps a value; those that were not used for longest go."""
        self._size += size - self._found.pop(key, (None, 0))[1]
        self._found[key] = value, size
        while self._size > self._most and len(self._found) > 1:
            _, (_, left) = self._found.popitem(last=False)
            self._size -= left
