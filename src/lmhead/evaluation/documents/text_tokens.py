"""Tokens of plain texts, and the bytes of the text up to each of them: never those of what the tokens decode to.

    byte-level           a token's bytes are told by its name; one that is part of a character ends inside of it
    byte fallback        <0xF0> is a byte, a mark a space; the mark that is put before a text is no byte of it
    others               by the tokenizer's own offsets, where its tokens give the text back at all

Where they do not (it normalises, folds case, has an unknown token), how many bits the tokens take says nothing of the
text's bytes: there are none, and a reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from lmhead.data.tokens.encoding import encode_texts
from lmhead.data.tokens.lossless import loss
from lmhead.inspection.tokens.token_text import TokenText
from lmhead.shown import shown_line


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
        self._text = TokenText.of(backend)

    def __call__(self, texts: Sequence[str]) -> list[TextTokens]:
        """The tokens of each text: of long ones in windows, of several at once."""
        raw = [text.encode() for text in texts]
        encoded = encode_texts(self._plain, raw)
        return [self._placed(text, utf8, ids) for text, utf8, ids in zip(texts, raw, encoded, strict=True)]

    def _placed(self, text: str, utf8: bytes, ids: npt.NDArray[np.int32]) -> TextTokens:
        numbers = ids.tolist()
        control = next((number for number in numbers if self._text.is_control(number)), None)
        pieces = [self._text.spelled(number) or b"" for number in numbers]
        spelled = b"".join(pieces)
        if control is None and spelled in (utf8, b" " + utf8):
            ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
            return TextTokens(ids=ids, utf8=utf8, ends=np.maximum(ends - (len(spelled) - len(utf8)), 0))
        lost = loss(text, self._plain.decode(numbers, skip_special_tokens=False))
        if lost is None and control is not None:
            lost = f"{shown_line((pieces[numbers.index(control)]).decode())} in the text becomes a control token"
        if lost is not None:
            return TextTokens(ids=ids, utf8=utf8, ends=None, lost=lost)
        return TextTokens(ids=ids, utf8=utf8, ends=self._by_offsets(text, ids))

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
