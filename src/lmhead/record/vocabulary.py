"""Vocabulary of a record: what the ids in it stand for: text, bytes that are no character, or a control token."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from lmhead.errors import InputError
from lmhead.shown import shown_value

Kind = Literal["text", "bytes", "control"]
_HEXADECIMAL: Final = re.compile(r"([0-9a-f]{2})+")
_NUMBER: Final = re.compile(r"-?[0-9]{1,15}")  # a batch may hold ids that no vocabulary has


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one id stands for."""

    kind: Kind
    text: str  # hexadecimal of the bytes where they are no UTF-8: "e29c"

    def as_json(self) -> Any:
        """Text as it is; {"bytes": "e29c"}; {"control": "<|im_end|>"}."""
        return self.text if self.kind == "text" else {self.kind: self.text}

    @staticmethod
    def of_json(value: Any) -> "Piece":
        """What `as_json` wrote.

        Raises:
            InputError: it wrote no such thing.
        """
        if isinstance(value, str):
            return Piece(kind="text", text=value)
        if isinstance(value, dict) and len(value) == 1:
            if isinstance(control := value.get("control"), str):
                return Piece(kind="control", text=control)
            if isinstance(known := value.get("bytes"), str) and _HEXADECIMAL.fullmatch(known):
                return Piece(kind="bytes", text=known)
        raise InputError(
            'a piece of a vocabulary must be a text, {"bytes": "e29c"} or {"control": "<s>"}, got ' + shown_value(value)
        )


def as_object(vocabulary: Mapping[int, Piece]) -> dict[str, Any]:
    """What each id stands for, as JSON: what `pieces_of` reads."""
    return {str(number): piece.as_json() for number, piece in vocabulary.items()}


def pieces_of(vocabulary: Any) -> dict[int, Piece]:
    """What each id stands for, of a line of a record.

    Raises:
        InputError: it is no object of ids and pieces.
    """
    if not isinstance(vocabulary, dict):
        raise InputError(f'"vocabulary" must be an object, got {shown_value(vocabulary)}')
    for number in vocabulary:
        if not _NUMBER.fullmatch(number):
            raise InputError(f"an id of a vocabulary must be a count in digits, got {shown_value(number)}")
    return {int(number): Piece.of_json(value) for number, value in vocabulary.items()}
