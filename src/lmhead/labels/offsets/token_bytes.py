"""Where the tokens of a byte-level tokenizer stand, told by their bytes; offsets are a third of what a tokenizer costs.

The bytes of the tokens, end to end, must be the text's: that is the proof that each token stands for its bytes. Where
they are not (the tokenizer normalises, or puts a space in front), the tokenizer's own offsets have to do.
"""

from itertools import chain
from typing import Final

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

_MOST_FAILURES: Final = 8  # more than successes: then it is not tried again
Tokens = tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int64]]  # ids, starts, stops


class TokenBytes:
    """The bytes of each token of one tokenizer, learnt as tokens are met."""

    def __init__(self, backend: Tokenizer, added: dict[int, str]) -> None:
        self._backend = backend
        self._bytes = _Bytes(backend, added)
        self._left = _MOST_FAILURES if is_byte_level(backend) else 0
        self._walls = np.zeros(max(added, default=0) + 1, np.bool_)
        for number, token in backend.get_added_tokens_decoder().items():
            self._walls[number] = not (token.normalized or token.lstrip or token.rstrip or token.single_word)

    def walls(self, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.intp]:
        """Where control tokens stand such that text on one side is tokenised alike whatever is on the other."""
        added = np.flatnonzero(ids < len(self._walls))
        return added[self._walls[ids[added]]]

    def tokens(self, text: str) -> Tokens | None:
        """Ids [T], and the characters [start, stop) that each stands for; None where bytes do not tell.

        A character that several tokens share belongs to each of them.
        """
        if self._left <= 0:
            return None
        encoded = self._backend.encode_batch_fast([text], add_special_tokens=False)[0].ids
        pieces = [self._bytes[number] for number in encoded]
        whole = text.encode()
        if b"".join(pieces) != whole or b"" in pieces:
            self._left -= 1
            return None
        self._left = min(self._left + 1, _MOST_FAILURES)
        lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
        stops = lengths.cumsum()
        starts = stops - lengths
        if not text.isascii():
            begins = (np.frombuffer(whole, np.uint8) & 0xC0) != 0x80  # bytes that begin a character
            character = begins.cumsum() - 1
            starts, stops = character[starts], character[stops - 1] + 1
        return np.asarray(encoded, np.int32), starts, stops


class _Bytes(dict[int, bytes]):
    """The bytes of a token, by id."""

    def __init__(self, backend: Tokenizer, added: dict[int, str]) -> None:
        super().__init__((number, text.encode()) for number, text in added.items())
        self._backend = backend

    def __missing__(self, number: int) -> bytes:
        token = self._backend.id_to_token(number) or ""
        known = all(character in BYTE_OF for character in token)
        self[number] = bytes(BYTE_OF[character] for character in token) if known else b""
        return self[number]


def is_byte_level(backend: Tokenizer) -> bool:
    """Whether the characters of a token stand for bytes, as in GPT-2's vocabulary."""
    state = backend.decoder.__getstate__() if backend.decoder is not None else b""  # JSON
    return isinstance(state, bytes) and b'"ByteLevel"' in state


def _alphabet() -> dict[str, int]:
    """The character that stands for each byte in byte-level vocabularies (GPT-2's): itself, where it can be printed."""
    printable = {*chain(range(0x21, 0x7F), range(0xA1, 0xAD), range(0xAE, 0x100))}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


BYTE_OF: Final = _alphabet()  # by the character
