"""Containers that tell when they are written as Python text, and keys that are looked up by what they were.

`{{ message.content }}` writes a list as `[{'type': 'text'}]`: Python's repr, which no model should learn to write. In
the render with markers every list and dictionary puts a character around its repr, so that it is found whatever it
looks like. All else that templates do with a container (tests, loops, look-ups, JSON) is as with a plain one.
"""

from functools import cache
from typing import Any, Final, NamedTuple

_LAST_PAIR: Final = 0x10FFFC
_FIRST_PRIVATE: Final = 0xF0000


class KeyText(str):
    """A key with markers that is equal to the key without them: look-ups, tests and sorting are as without."""

    __slots__ = ("_plain",)
    _plain: str

    @staticmethod
    def of(text: str, plain: str) -> "KeyText":
        """`text`, to be taken for `plain`."""
        key = KeyText(text)
        key._plain = plain
        return key

    def __eq__(self, other: object) -> bool:
        return self._plain == (other._plain if isinstance(other, KeyText) else other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._plain)

    def __lt__(self, other: str) -> bool:
        return self._plain < (other._plain if isinstance(other, KeyText) else other)

    def __gt__(self, other: str) -> bool:
        return self._plain > (other._plain if isinstance(other, KeyText) else other)

    def lower(self) -> "KeyText":
        """As Jinja's dictsort asks for it."""
        return KeyText.of(str.lower(self), self._plain.lower())


class Told(NamedTuple):
    """The types of containers that tell, and the two characters that they put around their repr."""

    opening: str
    closing: str
    of_dict: type[dict[Any, Any]]
    of_list: type[list[Any]]

    def wrapped(self, value: Any) -> Any:
        """Plain data with its containers in these types."""
        if isinstance(value, dict):
            return self.of_dict({key: self.wrapped(item) for key, item in value.items()})
        return self.of_list(map(self.wrapped, value)) if isinstance(value, list) else value


def told(texts: str) -> Told:
    """Containers that tell with two characters that do not occur in `texts`."""
    pair = _LAST_PAIR
    while not texts.isascii() and (chr(pair) in texts or chr(pair + 1) in texts) and pair > _FIRST_PRIVATE:
        pair -= 2
    return _told(pair)


@cache
def _told(pair: int) -> Told:
    opening, closing = chr(pair), chr(pair + 1)

    class ToldDict(dict[Any, Any]):
        __slots__ = ()

        def __repr__(self) -> str:
            return f"{opening}{dict.__repr__(self)}{closing}"

    class ToldList(list[Any]):
        __slots__ = ()

        def __repr__(self) -> str:
            return f"{opening}{list.__repr__(self)}{closing}"

    return Told(opening, closing, ToldDict, ToldList)
