"""An option named in a message: `max_length=512` to who calls Python, `--max-seq-len 512` to who types a command.

Whoever words a message knows options by their names in Python. Whether one is a flag, and which, is known far above. So
`option` marks the name in the text, and every error, finding and refusal makes a Message of its text: a str that reads
as Python, and knows where the options stand in it. lmhead/cli/spelling.py writes them as flags. Imports nothing
of the package.

A mark holds a word that each process makes anew, so no text of anybody's data can be taken for one; and no mark gets
out, since a Message is plain text, and is pickled and copied by its parts.

Example:
    >>> said = Message(f"give a larger {option('max_length')}, or {option('overflow', 'truncate_end')}")
    >>> print(said)
    give a larger max_length, or overflow='truncate_end'
    >>> said.parts[1]
    Option(name='max_length', value=None)
    >>> Message(f"chat.jsonl, line 3: {said.marked}").parts[1].name  # one message in another: by its marks
    'max_length'
"""

import os
from collections.abc import Iterable
from typing import Final, NamedTuple, Self, final

_MARK: Final = f"\x00{os.urandom(8).hex()}\x00"
_ALONE: Final = object()


class Option(NamedTuple):
    """An option that a message names, with a value where it says one."""

    name: str  # where it is a field of a field, dotted: model.max_seq_len
    value: str | None  # as Python writes it

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}={self.value}"


def option(name: str, value: object = _ALONE) -> str:
    """An option's name, or name and value, for the text of a message: marked until a Message is made of it."""
    return f"{_MARK}{Option(name, None if value is _ALONE else repr(value))}{_MARK}"


@final
class Message(str):
    """Text that reads as Python, and knows which `parts` of it are options."""

    parts: tuple[str | Option, ...]

    def __new__(cls, text: str) -> Self:
        """Of text with marks, or with none; a Message is itself."""
        if isinstance(text, cls):
            return text
        pieces = text.split(_MARK)  # every other one stood between two marks
        return cls.of(_option(piece) if index % 2 else piece for index, piece in enumerate(pieces))

    @classmethod
    def of(cls, parts: Iterable[str | Iterable[str | None]]) -> Self:
        """Of parts, those that went through JSON too."""
        kept = tuple(part if isinstance(part, str) else Option(*part) for part in parts if part)  # type: ignore[arg-type]
        message = super().__new__(cls, "".join(map(str, kept)))
        message.parts = kept
        return message

    @property
    def marked(self) -> str:
        """The text with marks, for the text of another message."""
        return "".join(part if isinstance(part, str) else f"{_MARK}{part}{_MARK}" for part in self.parts)

    def __reduce__(self) -> tuple[object, ...]:
        return Message.of, (self.parts,)


def _option(text: str) -> Option:
    name, equals, value = text.partition("=")
    return Option(name, value if equals else None)
