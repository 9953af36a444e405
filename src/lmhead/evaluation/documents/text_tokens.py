"""Tokens of plain texts, and the bytes of the text up to each of them: never those of what the tokens decode to.

    byte-level           a token's bytes are told by its name; one that is part of a character ends inside of it
    byte fallback        <0xF0> is a byte, a mark a space; the mark that is put before a text is no byte of it
    others               by the tokenizer's own offsets, where its tokens give the text back at all

Where they do not (it normalises, folds case, has an unknown token), how many bits the tokens take says nothing of the
text's bytes: there are none, and a reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from lmhead.data.tokens.encoding import encode_texts
from lmhead.data.tokens.lossless import loss
from lmhead.inspection.tokens.token_text import TokenText
from lmhead.shown import shown_line

_AT_ONCE: Final = 2**16  # tokens whose names are looked at: an object takes forty bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextTokens:
    """The tokens of one text, nothing before or behind it."""

    ids: npt.NDArray[np.int32]  # [T]
    utf8: bytes  # of the text
    ends: npt.NDArray[np.int64] | None  # [T]: bytes up to and with token t; None: they are not known
    lost: str | None = None  # why not


class TextTokenizer:
    """A tokenizer to which control tokens written in a text are text."""

    def __init__(self, backend: Tokenizer) -> None:
        self._plain = Tokenizer.from_str(backend.to_str())
        self._plain.no_truncation()
        self._plain.no_padding()
        self._plain.encode_special_tokens = True
        self._names = _Names(backend)
        control = (number for number, token in backend.get_added_tokens_decoder().items() if token.special)
        self._control = np.array(list(control), np.int32)

    def __call__(self, texts: Sequence[str]) -> list[TextTokens]:
        """The tokens of each text: of long ones in windows, of several at once."""
        raw = [text.encode() for text in texts]
        encoded = encode_texts(self._plain, raw)
        return [self._placed(text, utf8, ids) for text, utf8, ids in zip(texts, raw, encoded, strict=True)]

    def _placed(self, text: str, utf8: bytes, ids: npt.NDArray[np.int32]) -> TextTokens:
        control = ids[np.isin(ids, self._control)]
        ends = None if len(control) else self._by_names(utf8, ids)
        if ends is not None:
            return TextTokens(ids=ids, utf8=utf8, ends=ends)
        lost = loss(text, self._plain.decode(ids.tolist(), skip_special_tokens=False))
        if lost is None and len(control):
            lost = f"{shown_line(self._names[int(control[0])].decode())} in the text becomes a control token"
        if lost is not None:
            return TextTokens(ids=ids, utf8=utf8, ends=None, lost=lost)
        return TextTokens(ids=ids, utf8=utf8, ends=self._by_offsets(text, ids))

    def _by_names(self, utf8: bytes, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.int64] | None:
        """Where the tokens end, if their names spell the text, be it with a space before it; else None."""
        sizes = np.empty(len(ids), np.int64)
        spelled, moved = 0, 0
        for start in range(0, len(ids), _AT_ONCE):
            pieces = list(map(self._names.__getitem__, ids[start : start + _AT_ONCE].tolist()))
            sizes[start : start + len(pieces)] = np.fromiter(map(len, pieces), np.int64, len(pieces))
            part = b"".join(pieces)
            if not start and part.startswith(b" ") and not utf8.startswith(part):
                part, moved = part[1:], 1
            if not utf8.startswith(part, spelled):
                return None
            spelled += len(part)
        if spelled != len(utf8):
            return None
        return np.maximum(np.cumsum(sizes, out=sizes) - moved, 0)

    def _by_offsets(self, text: str, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """White space that no token's offsets cover belongs to the token behind it, at the end to the last one."""
        encoding = self._plain.encode(text, add_special_tokens=False)
        assert np.array_equal(encoding.ids, ids), "windows of a text make its tokens"
        points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        widths = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
        before = np.concatenate([[0], np.cumsum(widths)])
        stops = np.maximum.accumulate(np.array([stop for _, stop in encoding.offsets], np.int64))
        ends: npt.NDArray[np.int64] = before[stops]
        ends[-1:] = before[-1]
        return ends


class _Names(dict[int, bytes]):
    """The bytes that the name of a token spells, by id."""

    def __init__(self, backend: Tokenizer) -> None:
        super().__init__()
        self._text = TokenText.of(backend)

    def __missing__(self, number: int) -> bytes:
        self[number] = found = self._text.spelled(number) or b""
        return found
