"""ByteLosses: where each scored token of a document ends, in bytes, and its nll: what two tokenizers are aligned by."""

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from lmhead.evaluation.scores.document_scores import DocumentScores

ByteKind = Literal["letters", "digits", "punctuation", "white space", "beyond ASCII"]
BYTE_KINDS: Final[tuple[ByteKind, ...]] = get_args(ByteKind)
WHITE: Final = BYTE_KINDS.index("white space")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ByteLosses:
    """Of one document, token by token. Tokens without bytes (control tokens) end where the one before them does."""

    ends: npt.NDArray[np.int64]  # [T]: bytes of the scored text up to and with the token; they do not fall
    nll: npt.NDArray[np.float64]  # [T] nats
    kinds: npt.NDArray[np.uint8]  # [T]: of the first byte that is no white space, by its place in BYTE_KINDS

    @staticmethod
    def of(scores: DocumentScores) -> "ByteLosses | None":
        """Of a document's scores; None where nobody knows which bytes its tokens stand for."""
        document = scores.document
        if document.ends is None or document.utf8 is None:
            return None
        ends = document.ends[document.scored].astype(np.int64)
        return ByteLosses(ends=ends, nll=scores.nll[document.scored], kinds=byte_kinds(document.utf8, ends))

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self.ends[-1]) if len(self.ends) else 0


def byte_kinds(utf8: bytes, ends: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """[T] of each stretch of bytes between `ends`, what kind its first byte is that is no white space.

    Example:
        >>> [BYTE_KINDS[kind] for kind in byte_kinds(b"of 12 ", np.array([2, 5, 6]))]
        ['letters', 'digits', 'white space']
    """
    kinds = _TABLE[np.frombuffer(utf8, np.uint8)]
    dark = np.append(np.flatnonzero(kinds != WHITE), len(kinds))
    first = dark[np.searchsorted(dark, np.append(0, ends[:-1])[: len(ends)])]
    found: npt.NDArray[np.uint8] = np.append(kinds, np.uint8(WHITE))[first]
    found[first >= ends] = WHITE
    return found


def _table() -> npt.NDArray[np.uint8]:
    table = np.full(256, BYTE_KINDS.index("punctuation"), np.uint8)
    for byte in range(256):
        character = chr(byte)
        if byte >= 0x80:
            table[byte] = BYTE_KINDS.index("beyond ASCII")
        elif character.isspace():
            table[byte] = WHITE
        elif character.isalpha():
            table[byte] = BYTE_KINDS.index("letters")
        elif character.isdigit():
            table[byte] = BYTE_KINDS.index("digits")
    return table


_TABLE: Final = _table()
