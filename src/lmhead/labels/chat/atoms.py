"""A text as atoms: a control token is one atom, every other character is one.

Two texts that begin alike are compared atom by atom: `<|end|>` and `<|user|>` share nothing, though they share `<|`.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

# What control tokens and XML-like tags look like; \uff5c is the wide bar of DeepSeek's.
TAG: Final = r"</?[A-Za-z_|\uff5c!][^<>\s]{0,64}>|\[/?[A-Z_|]+\]"

_WORD: Final = re.compile(r"[^\W_]+")


class Atoms:
    """Splits texts into atoms, given the tokens that a tokenizer never splits.

    Example:
        >>> atoms = Atoms(["[gMASK]"])
        >>> atoms.common("<|end|>\\n<|user|>", "<|end|>\\n<|system|>")
        '<|end|>\\n'
        >>> atoms.through_last_control("<|end|>\\n")
        '<|end|>'
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        looks_like = re.compile(TAG)
        others = sorted({token for token in tokens if token.strip() and not looks_like.fullmatch(token)}, key=len)
        self._control = re.compile("|".join([*map(re.escape, reversed(others)), TAG]))

    def common(self, first: str, second: str) -> str:
        """The text that both begin with, without a part of an atom at its end."""
        shared = 0
        for one, other in zip(self.split(first), self.split(second), strict=False):
            if one != other:
                break
            shared += len(one)
        return first[:shared]

    def common_but_spaces(self, first: str, second: str) -> str:
        """As `common`, where any white space may stand where the other text has other white space, or none.

        What comes back is a beginning of `first`; the white space at its end is what both have.

        Example:
            >>> Atoms([]).common_but_spaces("</call>\\n<|end|>\\n<|user|>", "</call><|end|>\\n\\n")
            '</call>\\n<|end|>\\n'
        """
        one, other = list(self.split(first)), list(self.split(second))
        here = there = 0
        while True:
            while here < len(one) and there < len(other) and one[here] == other[there]:
                here, there = here + 1, there + 1
            next_here, next_there = _behind_spaces(one, here), _behind_spaces(other, there)
            if next_here == len(one) or next_there == len(other) or one[next_here] != other[next_there]:
                return "".join(one[:here])
            here, there = next_here, next_there

    def common_ending(self, first: str, second: str) -> str:
        """The text that both end with, without a part of an atom at its beginning."""
        shared = 0
        pairs = zip(reversed(list(self.split(first))), reversed(list(self.split(second))), strict=False)
        for one, other in pairs:
            if one != other:
                break
            shared += len(one)
        return first[len(first) - shared :]

    def split(self, text: str) -> Iterator[str]:
        """The atoms of a text, in order."""
        end = 0
        for match in self._control.finditer(text):
            yield from text[end : match.start()]
            yield match.group()
            end = match.end()
        yield from text[end:]

    def controls(self, text: str) -> list[str]:
        """The control tokens in a text, in order."""
        return self._control.findall(text)

    def words(self, text: str) -> list[str]:
        """What a text says beside its control tokens."""
        return _WORD.findall(self._control.sub(" ", text))

    def through_last_control(self, text: str) -> str:
        """The text up to and including its last control token; empty where it has none."""
        ends = [match.end() for match in self._control.finditer(text)]
        return text[: ends[-1]] if ends else ""

    def through_first_control(self, text: str) -> str:
        """The text up to and including its first control token; empty where it has none."""
        match = self._control.search(text)
        return text[: match.end()] if match else ""


def _behind_spaces(atoms: list[str], place: int) -> int:
    """The first place from `place` on that is no white space."""
    while place < len(atoms) and atoms[place].isspace():
        place += 1
    return place
