"""Probes kept by skeleton: conversations that differ in marked text alone share what was found around their turns.

A probe takes up to six renders. Conversations with one skeleton (roles, fields, unmarked values, white space around
texts, the template's own literals in them) share their probes: where they hold, a conversation costs two renders. What
a template does with a text's LENGTH is not in the skeleton, so a kept probe is used only where the same characters
stand around the turn as when it was taken.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from lmhead.labels.markers import Marked, Rendered
from lmhead.labels.probes import Probe, Render, lone_user, probe

_MOST_KEPT: Final = 4096  # skeletons; some kilobytes each


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
            lone = lone_user(marked, render)
            for index in missing:
                known[index] = _Kept(probe(marked, full, index, render, lone), around[index])
        if self._keep:
            self._kept.move_to_end(key)
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return {index: known[index].probe for index in indices}


def _around(full: Rendered, index: int) -> tuple[str, str]:
    """The text between a turn's markers and the markers before and behind them."""
    own = full.entries.get(index)
    if not own:
        return "", ""
    first, last, places = own[0], own[-1], full.places
    before = full.text[places[first - 1] if first else 0 : places[first]]
    return before, full.text[places[last] : places[last + 1] if last + 1 < len(places) else None]
