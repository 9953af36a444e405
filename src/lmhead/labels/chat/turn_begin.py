"""Where an assistant's turn begins: behind what inference gives, and behind whatever opens every answer.

What a template has before an answer is its own header, what the previous turn still needed, or already something that
the assistant produces, such as an empty thought. Renders tell which:

- the generation prompt, which inference gives: the turn begins where the text stops agreeing with it;
- a question in the place of the answer: what stands before both is nobody's header;
- another answer in its place: what does not stand before both is the answer's own.
"""

from dataclasses import dataclass
from typing import NoReturn

from lmhead.errors import ConversationError
from lmhead.labels.chat.atoms import Atoms
from lmhead.labels.chat.probes import ANSWER_TEXT, LONE_TEXT, Probe
from lmhead.options import option


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """What stands between the text before a turn and the turn's first text."""

    index: int  # of the turn's message
    before: int | None  # the marker that it begins with
    text: str
    own: str  # what the turn's text itself has before its first marker, such as a tag
    real: str  # the gap and what follows it
    prompted: bool  # inference asks for an answer here: behind a question, or a tool's result
    behind_answer: bool  # the message before is an answer as well


@dataclass(frozen=True, slots=True)
class Beginning:
    """How many characters of a gap precede the turn, and whether inference would give others."""

    size: int
    differs: bool


def beginning(gap: Gap, probe: Probe, atoms: Atoms) -> Beginning:
    """Where the turn begins.

    Raises:
        ConversationError: the prompt and the text disagree before the assistant's header is complete, or nothing tells
            a header from what the assistant produces.
    """
    finder = _Finder(gap, probe, atoms)
    found = finder.beginning()
    return finder.behind_spaces(found) if gap.behind_answer else found


def behind_header(gap: Gap, header: str) -> Beginning:
    """Where the turn begins in a template of which it is known what stands before an answer.

    Raises:
        ConversationError: it does not stand there once.
    """
    if gap.text.count(header) != 1:
        raise ConversationError(
            f"{option('assistant_header')} must stand once before messages[{gap.index}], got "
            f"{gap.text.count(header)} times {header!r} in {shown(gap.text)}: give it as the template writes it",
            kind="generation_prompt",
        )
    return Beginning(gap.text.index(header) + len(header), False)


@dataclass(frozen=True, slots=True)
class _Finder:
    gap: Gap
    probe: Probe
    atoms: Atoms

    def beginning(self) -> Beginning:
        gap, prompt = self.gap, self._prompt()
        if prompt is None:
            return self._unprompted("")
        agreed = self.atoms.common(prompt, gap.real)
        if agreed == prompt:
            return self._prompted(agreed, False)
        but_spaces = self.atoms.common_but_spaces(gap.real, prompt)
        left = prompt[len(self.atoms.common_but_spaces(prompt, gap.real)) :]
        if prompt.strip() and not left.strip() and len(but_spaces) <= len(gap.text):
            return self._prompted(but_spaces, True)
        return self._partly_prompted(agreed)

    def behind_spaces(self, found: Beginning) -> Beginning:
        """Behind the white space that a template writes between two answers, where nothing else opens the second."""
        every, closed = self._of_every_answer(), self.probe.bare_prompt or ""
        opened = len(self.atoms.common(every, closed)) < len(every.rstrip())
        spaces = found.size < len(every) and not every[found.size :].strip() and not opened
        return Beginning(len(every), found.differs) if spaces else found

    def _prompt(self) -> str | None:
        """What inference gives; None where that cannot be compared with the text."""
        return self.probe.prompt if self.probe.before == self.gap.before else None

    def _apart(self) -> bool:
        """Whether the prompt has more than what stands before any message: a header of the assistant's."""
        prompt, as_user, bare = self.probe.prompt or "", self.probe.as_user, self.probe.bare_prompt or ""
        if as_user is not None:
            return not "".join(as_user.split()).startswith("".join(prompt.split()))
        if bare.strip():
            return bool(prompt[len(self.atoms.common(prompt, bare)) :].strip())
        behind = self.probe.ending_before("user") or ""  # turns alternate: what ends a question may end this turn too
        shared = self.atoms.common(prompt, behind)
        return bool(shared.strip()) and bool(prompt[len(shared) :].strip())

    def _prompted(self, agreed: str, differs: bool) -> Beginning:
        """The text agrees with the whole prompt. That has to be a header, or none may be left behind it."""
        rest = self.gap.text[len(agreed) :].removesuffix(self.gap.own)
        if not rest.strip():
            return Beginning(len(agreed), differs)
        if self._apart():
            self._refuse_prose(rest)
            return Beginning(len(agreed), differs)
        if not self._shared_with_answer()[len(agreed) :].strip():
            return Beginning(len(agreed), differs)
        if self.gap.prompted and self._header(len(agreed)):
            self._refuse(rest.lstrip())
        return self._unprompted(agreed)

    def _partly_prompted(self, agreed: str) -> Beginning:
        """The text stops agreeing with the prompt somewhere: that has to be behind the header."""
        gap, every = self.gap, self._of_every_answer()
        rest = every[len(agreed) :]
        if not agreed.strip() or _within_word(agreed, self.probe.prompt or "", gap.real):
            return self._unprompted("")
        if not rest.strip():
            return self._behind_line(len(agreed), rest)
        as_user = self.probe.as_user
        if as_user is None or len(agreed) <= len(self.atoms.common(self.probe.prompt or "", as_user)):
            return self._unprompted("")
        return self._behind_prose(len(agreed))

    def _unprompted(self, agreed: str) -> Beginning:
        """The prompt tells nothing: the turn begins behind the prompt of a lone question, or no header stands here."""
        header = self._header(len(agreed))
        if header:
            begin = self.gap.text.rindex(header) + len(header)
            whole = header.strip() == self._lone_prompt()[1].strip()
            found = self._behind_prose(begin)
            fits = self.probe.prompt is None or (whole and not self.gap.prompted)
            return Beginning(found.size, not fits or found.size > begin)
        every = self._of_every_answer()
        lone = self.probe.lone
        if lone is not None and lone.behind.strip() and every.rstrip().endswith(lone.behind.strip()):
            return self._behind_line(len(every.rstrip()), every[len(every.rstrip()) :])
        others = (self.probe.as_user, self.probe.bare_prompt)
        anybody = max((self.atoms.common(every, other) for other in others if other is not None), key=len, default="")
        rest = every[len(anybody) :]
        if rest.strip():
            self._refuse(every[len(self.atoms.common(every, self.probe.bare_prompt or "")) :].lstrip())
        return self._behind_line(len(anybody), rest)

    def _behind_line(self, size: int, rest: str) -> Beginning:
        """Behind the line breaks that a header ends with; other white space in front of a text is the text's."""
        if self.gap.text[:size].endswith("\n"):
            size += rest.rfind("\n") + 1
        return Beginning(size, self.probe.prompt is not None and self.probe.prompt != self.gap.text[:size])

    def _behind_prose(self, size: int) -> Beginning:
        """Behind the template's own words, where it writes some before every answer."""
        every = self._of_every_answer()
        own = len(self.atoms.words(every[size:])) > 1 and every == self._shared_with_answer()
        if len(every) > size and (own or self._shared_with_user(size)):
            return Beginning(len(every), True)
        return Beginning(size, True)

    def _refuse_prose(self, rest: str) -> None:
        if self._shared_with_user(len(self.gap.text) - len(rest) - len(self.gap.own)):
            self._refuse(rest.lstrip())

    def _shared_with_user(self, size: int) -> bool:
        """Whether words stand right before the answer, behind `size` characters, that stand before a question too.

        Words in front of a control token are a part of the header's syntax: `to=user<|message|>`.
        """
        as_user = self.probe.as_user
        if as_user is None:
            return False
        head = self.gap.text.removesuffix(self.gap.own)
        shared = self.atoms.common_ending(head, as_user.rpartition(LONE_TEXT)[0])
        shared = shared[len(self.atoms.through_last_control(shared)) :]
        behind = max(0, size - (len(head) - len(shared)))
        within = head[: len(head) - len(shared) + behind][-1:].isalnum() and shared[behind : behind + 1].isalnum()
        return len(self.atoms.words(shared[behind:])) > int(within)

    def _of_every_answer(self) -> str:
        """What of the gap stands before every answer: what another shares that has no more before it, else all."""
        every = self._shared_with_answer()
        complete = (self.probe.as_answer or "")[len(every) :].lstrip().startswith(ANSWER_TEXT)
        return every if complete else self.gap.text.removesuffix(self.gap.own)

    def _shared_with_answer(self) -> str:
        """What of the gap stands before another answer too."""
        head, as_answer = self.gap.text.removesuffix(self.gap.own), self.probe.as_answer
        return head if as_answer is None else self.atoms.common(head, as_answer)

    def _header(self, agreed: int) -> str:
        """As much of the generation prompt as stands, once, in front of a turn, if it sets apart from a user's turn."""
        gap = self.gap.text[agreed:]
        if not gap:
            return ""
        before, prompt = self._lone_prompt()
        header = best = ""
        for atom in self.atoms.split(prompt):
            header += atom
            times = gap.count(header)
            if not times:
                break
            rest = gap[gap.index(header) + len(header) :]
            if times == 1 and header not in before and not _within_word(header, prompt, header + rest):
                best = header
        return best

    def _lone_prompt(self) -> tuple[str, str]:
        """A lone question, and what asks for an answer to it, without what ends the question.

        Where nothing ends a question that is not followed, or where an answer is always asked for, that is what does
        not stand between two questions, with what opens a message.
        """
        lone = self.probe.lone
        if lone is None:
            return "", ""
        if lone.between is None:
            return lone.text, lone.generation_prompt.lstrip()
        behind = lone.behind
        shared = list(self.atoms.split(self.atoms.common(behind, lone.between)))
        if behind == "".join(shared):
            return lone.text, ""
        ended = lone.between[: len(lone.between) - len(self.atoms.common_ending(lone.between, lone.opener))]
        if self.atoms.controls(ended) and behind.startswith(ended.rstrip()):
            prompt = behind[len(ended.rstrip()) :]
            return lone.opener + behind.removesuffix(prompt), prompt.lstrip()
        opening = list(self.atoms.split(lone.text))
        openings = [[opening[:size], opening[1 : size + 1]] for size in range(len(shared) + 1)]
        size = next((size for size in range(len(shared), 0, -1) if shared[-size:] in openings[size]), 0)
        prompt = behind[len("".join(shared[: len(shared) - size])) :]
        return lone.opener + behind.removesuffix(prompt), prompt.lstrip()

    def _refuse(self, header: str) -> NoReturn:
        found = f", such as {header!r}" if header.strip() else ""
        prompt = self.probe.prompt
        given = "the template renders none" if prompt is None else f"the prompt is {shown(prompt)}"
        raise ConversationError(
            f"messages[{self.gap.index}] must begin as the template's generation prompt does, got "
            f"{shown(self.gap.text)} where {given}: give by {option('assistant_header')} what stands before an "
            f"assistant's text{found}",
            kind="generation_prompt",
        )


def _within_word(agreed: str, first: str, second: str) -> bool:
    """Two texts part in the middle of a word."""
    following = first[len(agreed) : len(agreed) + 1], second[len(agreed) : len(agreed) + 1]
    return agreed[-1:].isalnum() and any(character.isalnum() for character in following)


def shown(text: str, place: int = 0) -> str:
    """The text where it is short, else what stands around a place in it."""
    if len(text) <= 60:
        return repr(text)
    start = max(0, min(place - 28, len(text) - 57))
    return ("..." if start else "") + repr(text[start : start + 57]) + ("..." if start + 57 < len(text) else "")
