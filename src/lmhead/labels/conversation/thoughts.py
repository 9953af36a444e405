"""Thoughts that are written in a content: `<think>why</think>answer`, and what is the like with other tags.

A thought that leads a content is reasoning, which a template may leave out. A tag without its partner is told by its
side: text before a closing tag that nothing opens is a thought that the prompt began, text behind an opening tag that
nothing closes is a thought that was cut off.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_WORDS: Final = ("think", "thinking", "thought", "reasoning", "analysis", "seed:think")
_CLOSING_OF: Final = {
    **{f"<{word}>": f"</{word}>" for word in _WORDS},
    "[THINK]": "[/THINK]",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|inner_prefix|>": "<|inner_suffix|>",
    "\u25c1think\u25b7": "\u25c1/think\u25b7",
    "<|channel>thought": "<channel|>",
}
END_OF_THOUGHT: Final = re.compile("|".join(map(re.escape, _CLOSING_OF.values())))
_TAG: Final = re.compile("|".join(map(re.escape, [*_CLOSING_OF, *_CLOSING_OF.values()])))
_OPENS_AT_END: Final = re.compile(f"(?:{'|'.join(map(re.escape, _CLOSING_OF))})\\s*$")
_BEGINNINGS: Final = ("<", "[", "\u25c1")  # of every tag: looking for these costs less


@dataclass(frozen=True, slots=True)
class Thought:
    """One thought of a content, by its characters."""

    start: int  # of its opening tag, or of the text where there is none
    text: tuple[int, int]  # what stands between its tags: start, stop
    stop: int  # exclusive, of its closing tag; the end of the text where there is none
    opened: bool  # by a tag of the text's own
    closed: bool
    leading: bool  # nothing but white space and other thoughts stands before it

    def holds(self, start: int, stop: int) -> bool:
        """Whether characters belong to the thought."""
        return self.start <= start and stop <= self.text[1]


def thoughts(text: str) -> tuple[Thought, ...]:
    """The thoughts of a text, in order.

    Example:
        >>> [text[slice(*thought.text)] for text in ("<think>So.</think>Yes.",) for thought in thoughts(text)]
        ['So.']
    """
    return _found(text) if any(beginning in text for beginning in _BEGINNINGS) else ()


@lru_cache(maxsize=64)  # the stretches of one text ask one after the other
def _found(text: str) -> tuple[Thought, ...]:
    found: list[Thought] = []
    end = 0  # of the last thought
    leading = True
    tag = _TAG.search(text)
    while tag:
        closing = _CLOSING_OF.get(tag[0])
        if closing is None:
            if not found and end == 0:
                found.append(Thought(0, (0, tag.start()), tag.end(), False, True, True))
                end = tag.end()
        else:
            leading = leading and not text[end : tag.start()].strip()
            stop = text.find(closing, tag.end())
            closed = stop >= 0
            inner = (tag.end(), stop if closed else len(text))
            end = inner[1] + (len(closing) if closed else 0)
            found.append(Thought(tag.start(), inner, end, True, closed, leading))
        tag = _TAG.search(text, max(end, tag.end()))
    return tuple(found)


def leading_thought(text: str) -> str | None:
    """What stands between the tags of the thought that a text begins with; None where it has none."""
    first = next(iter(thoughts(text)), None)
    if first is None or not (first.leading and first.opened and first.closed):
        return None
    return text[slice(*first.text)]


def behind_leading_thought(text: str) -> str:
    """The text without the thought that it begins with, and the white space behind that."""
    return text[thoughts(text)[0].stop :].lstrip()


def opens_thought(text: str) -> bool:
    """Whether a text ends in a tag that opens a thought."""
    return bool(_OPENS_AT_END.search(text[-80:]))


def stretches_behind(prompt: str, text: str) -> list[tuple[int, int, bool]]:
    """(start, stop, closed) of each thought in a text that goes on behind a prompt, with its tags and the white space
    behind it. The prompt may have opened the first.
    """
    opening = _OPENS_AT_END.search(prompt[-80:])
    tag = opening[0] if opening else ""
    found = []
    for thought in thoughts(tag + text):
        if thought.opened:
            start, stop = max(0, thought.start - len(tag)), max(0, thought.stop - len(tag))
            stop += len(text[stop:]) - len(text[stop:].lstrip())
            found.append((start, stop, thought.closed))
    return found
