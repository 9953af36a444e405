"""Where an assistant's turn ends: behind the control token that closes it, if there is one.

What stands behind a turn closes it or opens the next. What stands there whether or not anything follows closes it.
Where a template leaves the end out behind the last turn, or always asks for an answer, it is what stands behind the
turn whoever follows, without what opens a message at the beginning of a text.
"""

from dataclasses import dataclass
from typing import NoReturn

from lmhead.errors import ConversationError
from lmhead.labels.chat.atoms import Atoms
from lmhead.labels.chat.probes import LONE_TEXT, Probe
from lmhead.labels.chat.turn_begin import shown
from lmhead.labels.chat.turn_stop import Ending


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """What stands behind a turn, from its last marker to the next message's first."""

    index: int  # of the turn's message
    text: str
    rest: int  # characters of it that are still the message's own text
    follower: str | None  # the role of what follows; None: nothing does
    opening: str  # how the whole text begins, at least
    before: str = ""  # what the message before has behind its last marker: a tag


def ending(behind: Behind, probe: Probe, atoms: Atoms) -> Ending:
    """Where the turn ends.

    Raises:
        ConversationError: nothing tells whether a control token ends the turn or opens the next one.
    """
    return _Finder(behind, probe, atoms).ending()


@dataclass(frozen=True, slots=True)
class _Finder:
    behind: Behind
    probe: Probe
    atoms: Atoms

    def ending(self) -> Ending:
        rest = self.behind.rest
        certain = self._certain()
        terminated = rest + len(self.atoms.through_last_control(certain[rest:]))
        if terminated > rest:
            return Ending(size=terminated)
        other = self._left_out_elsewhere()
        if other:
            text = f"ends with {other.strip()!r} here, and otherwise where it is "
            text += "the last" if self.behind.follower else "not the last"
            return Ending(size=rest + len(other), notes=(("terminator_differs", text),))
        note = "no control token ends the turn"
        return Ending(size=max(rest, len(certain.rstrip())), notes=(("no_terminator", note),))

    def _certain(self) -> str:
        """What stands behind the turn whether or not anything follows it."""
        probe, text = self.probe, self.behind.text
        if probe.ending_followed is None:
            return text
        other = probe.ending_last if self.behind.follower else probe.ending_followed
        certain = self.atoms.common_but_spaces(text, other)
        whole = _without_spaces(certain) == _without_spaces(probe.ending_last)
        if whole and self.behind.follower == "assistant":
            before_user = probe.ending_before("user")
            certain = certain if before_user is None else self.atoms.common_but_spaces(certain, before_user)
            whole = _without_spaces(certain) == _without_spaces(probe.ending_last)
            if not whole:
                return self._closed_surely(certain)
        if whole or not certain.strip():
            return certain
        return self._closed_surely(certain)

    def _closed_surely(self, certain: str) -> str:
        """What ends the turn, where more stands behind the last turn. If that is no prompt, nothing opens a message."""
        closed, proven = self._closed(certain)
        if proven or not self._holds_prompt(self.probe.ending_last[self.behind.rest :]):
            return closed
        if self.atoms.controls(closed[self.behind.rest :]):
            self._refuse(certain, "the template always adds one")
        return self._before_user()[0]

    def _left_out_elsewhere(self) -> str:
        """The end of a turn that ends otherwise, or not at all, where it is the last, or where it is not."""
        rest = self.behind.text[self.behind.rest :]
        if self.behind.follower is None:
            return self._first_control(self._before_prompt(rest))
        other = self.probe.ending_before("user" if self.behind.follower != "user" else "answer")
        if other is None:
            return self._left_out_of_alternating(rest)
        common = self.atoms.common_but_spaces(self.behind.text, other)
        closed, proven = self._closed(common)
        closed = self.atoms.through_last_control(closed[self.behind.rest :])
        if closed and not proven and not self._ends_others(closed):
            self._refuse(common, "it is left out behind the last turn")
        opens = proven and bool(self.atoms.controls(common[self.behind.rest :]))
        return closed if closed or opens else self._candidate(rest)

    def _left_out_of_alternating(self, rest: str) -> str:
        """The same where only one role may follow: what ends a question, or opens no question, may end the turn."""
        lone = self.probe.lone
        if lone is not None:
            common = self.atoms.common_but_spaces(rest, lone.behind)
            without = self._without(common, self.behind.opening)
            if without != common:
                return self.atoms.through_last_control(without)
        sure, exact = self._before_user()
        closed = self.atoms.through_last_control(sure[self.behind.rest :])
        if closed or exact or self._ends_others(rest) or lone is None:
            return closed or self._candidate(rest)
        shared = self.atoms.common_ending(lone.opener, rest)
        if self.atoms.words(lone.opener[: len(lone.opener) - len(shared)]) and self._first_control(rest):
            self._refuse(rest, "it is left out behind the last turn")
        return ""

    def _holds_prompt(self, rest: str) -> bool:
        """Whether what stands behind the last turn has a generation prompt in it."""
        prompt, as_user, lone = (self.probe.prompt or "").strip(), self.probe.as_user, self.probe.lone
        if as_user is not None:
            own = prompt[len(self.atoms.common(prompt, as_user.lstrip())) :].strip()
            return bool(own) and own in rest
        return lone is not None and bool(self.atoms.common_ending(rest, lone.behind).strip())

    def _before_prompt(self, rest: str) -> str:
        """What stands behind the last turn before a generation prompt."""
        if (self.probe.prompt or "").strip().endswith(rest.strip()):
            return ""
        if not self._holds_prompt(rest):
            return rest
        return rest[: len(rest) - len(self.atoms.common_ending(rest, self.probe.bare_prompt or ""))]

    def _candidate(self, rest: str) -> str:
        """A first control token that ends other turns, or that opens no question though one follows."""
        candidate = self._first_control(rest)
        if not candidate:
            return ""
        if self._ends_others(candidate):
            return candidate
        lone = self.probe.lone
        opens_user = lone is None or candidate.strip() in self.atoms.controls(lone.text)
        return candidate if self.behind.follower == "user" and not opens_user else ""

    def _first_control(self, rest: str) -> str:
        """A text up to its first control token, if nothing else stands before it."""
        candidate = self.atoms.through_first_control(rest)
        return candidate if self.atoms.controls(candidate) == [candidate.strip()] else ""

    def _ends_others(self, candidate: str) -> bool:
        """Whether the same control token ends the message before, or a lone question."""
        lone = self.probe.lone
        of_lone = lone.text.rpartition(LONE_TEXT)[2] if lone else ""
        of_before = (self.probe.bare_prompt or "").removeprefix(self.behind.before)
        ends = [self.atoms.controls(text)[:1] for text in (of_before, of_lone)]
        always = self.probe.always_prompts or (lone is not None and lone.always_prompts)
        return bool(self.atoms.controls(candidate)) and self.atoms.controls(candidate)[:1] in ends and not always

    def _closed(self, ending: str) -> tuple[str, bool]:
        """An ending without the beginning of the next header, and whether that is shown to be all of it.

        What opens a turn shows at the very beginning of the text, behind a first control token: nothing ended there.
        A token that also ends the text behind a lone user's message is no opener, though it may begin the text too.
        Where the text begins with words, what does not open a lone question ends the turn.
        """
        if not self.atoms.controls(ending[self.behind.rest :]):
            return self.atoms.common(ending, self._before_user()[0]), True
        without = self._without(ending, self.behind.opening)
        if without != ending:
            return without, True
        sure, exact = self._before_user()
        if exact or self.atoms.controls(sure[self.behind.rest :]):
            return sure, True
        sure = self._before_system()
        if self.atoms.controls(sure[self.behind.rest :]):
            return sure, True
        lone = self.probe.lone
        if lone is not None and lone.between is None:
            without = self._without(ending, lone.generation_prompt, second=False)
        return without, without != ending

    def _without(self, ending: str, text: str, *, second: bool = True) -> str:
        """An ending without the part at its end that a text begins with, or has behind its first atom."""
        lone = self.probe.lone
        atoms = list(self.atoms.split(ending))
        opening = [atom for atom, _ in zip(self.atoms.split(text), range(len(atoms) + 1), strict=False)]
        for size in range(len(atoms), 0, -1):
            opener = "".join(atoms[-size:])
            ends = lone is not None and lone.text.rstrip().endswith(opener.strip())
            openings = [opening[:size], *([opening[1 : size + 1]] if second else [])]
            if atoms[-size:] in openings and not ends:
                return "".join(atoms[:-size])
        return ending

    def _before_user(self) -> tuple[str, bool]:
        """What stands behind the turn and does not open a question where nothing stands before it; whether it is all.

        It is where a conversation without messages shows what stands before the first.
        """
        lone = self.probe.lone
        followed = self.probe.ending_before("user")
        if lone is None or followed is None:
            return "", False
        followed = followed.rpartition(LONE_TEXT)[0]
        opener = lone.opener.removeprefix(lone.empty or "")
        exact = lone.empty is not None and lone.opener == lone.empty + opener and followed.endswith(opener)
        return self._before(followed, opener), exact and bool(opener.strip())

    def _before_system(self) -> str:
        """As `_before_user`, of a system's prompt, which no other one precedes."""
        lone = self.probe.lone
        followed = self.probe.ending_before("system")
        if lone is None or lone.system_opener is None or followed is None:
            return ""
        return self._before(followed.rpartition(LONE_TEXT)[0], lone.system_opener)

    def _before(self, followed: str, opener: str) -> str:
        shared = self.atoms.common_ending(followed, opener)
        if not shared.strip():
            return ""
        return self.atoms.common_but_spaces(self.behind.text, followed[: len(followed) - len(shared)])

    def _refuse(self, text: str, why: str) -> NoReturn:
        raise ConversationError(
            f"messages[{self.behind.index}] must end in the render without a generation prompt after it, got "
            f"{shown(text)}: {why}, and where the turn ends cannot be told",
            kind="generation_prompt",
        )


def _without_spaces(text: str) -> str:
    return "".join(text.split())
