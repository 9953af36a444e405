"""Vocabulary of a record: what the ids in it stand for: text, bytes that are no character, or a control token."""

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["text", "bytes", "control"]


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
        """What `as_json` wrote; anything else as its text."""
        if isinstance(value, dict):
            for kind in ("bytes", "control"):
                if kind in value:
                    return Piece(kind=kind, text=str(value[kind]))
        return Piece(kind="text", text=str(value))
