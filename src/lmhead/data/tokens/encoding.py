"""Documents -> a stream of token ids, in bounded memory: a batch at a time, a long document in windows.

The ids are those of each document encoded whole. A window begins some text before the place where it counts, and what
it makes of that text is compared with what its neighbour made of it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from lmhead.data.rows.progress import Progress, unheard
from lmhead.data.sets.documents import Documents
from lmhead.data.tokenizer.text_ends import TextEnds
from lmhead.data.tokenizer.train_tokenizer import encode_documents
from lmhead.data.tokens.text_pieces import spans
from lmhead.labels.packing.wrapped_rows import DocumentStream, Ids

_BATCH: Final = 2**18  # bytes that are encoded at once: a token takes a hundred bytes until it is a number
_AT_ONCE: Final = 4  # windows
_LONGEST_PIECE: Final = 2**22  # bytes; where tokens hang together for longer, the text is encoded whole
_BEFORE: Final = 1024  # bytes of a window before the place where it counts


def encode_stream(
    tokenizer: Tokenizer, documents: Documents, ends: TextEnds, progress: Progress = unheard
) -> DocumentStream:
    """The ids of each document between its ends; control tokens written in a text stay plain text."""
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    dtype = np.dtype(np.uint16 if largest < 2**16 else np.uint32)
    parts: list[Ids] = []
    lengths: list[int] = []
    done, total = 0, documents.bytes
    for batch in _batches(documents):
        if isinstance(batch, memoryview):
            text = _long(tokenizer, batch, dtype, _behind(progress, done, total))
            found = [np.array(ends.begin, dtype), *text, np.array([ends.end], dtype)]
            done += len(batch)
            lengths.append(sum(map(len, found)))
            parts += found
        else:
            encoded = encode_documents(tokenizer, [str(utf8, "utf-8") for utf8 in batch], ends)
            done += sum(map(len, batch))
            lengths += map(len, encoded)
            parts.append(np.fromiter(chain.from_iterable(encoded), dtype, sum(map(len, encoded))))
        progress("tokenising", done, total, "bytes")
    return DocumentStream(ids=_joined(parts, dtype), ends=np.cumsum(np.asarray(lengths, np.int64), dtype=np.int64))


def encode_texts(tokenizer: Tokenizer, texts: Sequence[bytes]) -> Iterator[npt.NDArray[np.int32]]:
    """The ids of each text alone, nothing before or behind it; control tokens written in a text stay plain text."""
    for long, group in groupby(texts, key=lambda utf8: len(utf8) > _BATCH):
        if long:
            for utf8 in group:
                parts = _long(tokenizer, memoryview(utf8), np.int32, lambda _: None)
                yield np.concatenate([np.empty(0, np.int32), *parts])
        else:
            for ids in _plain_ids(tokenizer, [utf8.decode() for utf8 in group]):
                yield np.array(ids, np.int32)


def _plain_ids(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    tokenizer.encode_special_tokens = True
    return [one.ids for one in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def _batches(documents: Documents) -> Iterator[list[memoryview] | memoryview]:
    """Short documents together, a long one by itself, in order."""
    batch: list[memoryview] = []
    size = 0
    for utf8 in documents.every_utf8():
        if batch and size + len(utf8) > _BATCH:
            yield batch
            batch, size = [], 0
        if len(utf8) > _BATCH:
            yield utf8
        else:
            batch.append(utf8)
            size += len(utf8)
    if batch:
        yield batch


def _behind(progress: Progress, before: int, total: int) -> Callable[[int], None]:
    return lambda done: progress("tokenising", before + done, total, "bytes")


def _long(tokenizer: Tokenizer, utf8: memoryview, dtype: Any, reached: Callable[[int], None]) -> list[Ids]:
    """The ids of one long text."""
    tokenizer.encode_special_tokens = True
    parts: list[Ids] = [np.empty(0, dtype)]
    begun = 0  # where the last part begins
    waiting = list(spans(utf8))
    for first in range(0, len(waiting), _AT_ONCE):
        windows = [_Window.of(utf8, *span) for span in waiting[first : first + _AT_ONCE]]
        for window, (whole, seam) in zip(windows, _encoded(tokenizer, windows, dtype), strict=True):
            ids = window.ids(whole, seam, parts[-1])
            if ids is not None:
                parts.append(ids)
                begun = window.start
                continue
            both = _Window.of(utf8, begun, window.stop)  # a token reaches from one piece into the next
            [(whole, seam)] = _encoded(tokenizer, [both], dtype)
            ids = both.ids(whole, seam, parts[-2])
            if ids is None or window.stop - begun > _LONGEST_PIECE:
                [whole_text] = _plain_ids(tokenizer, [str(utf8, "utf-8")])  # in much memory
                return [np.array(whole_text, dtype)]
            parts[-1] = ids
        reached(windows[-1].stop)
    return parts


def _encoded(tokenizer: Tokenizer, windows: Sequence["_Window"], dtype: Any) -> list[tuple[Ids, Encoding]]:
    """The ids of each window, and its seam, of which it can be asked where each token begins."""
    whole = tokenizer.encode_batch_fast([window.text for window in windows], add_special_tokens=False)
    seams = tokenizer.encode_batch([window.seam for window in windows], add_special_tokens=False)
    return [(np.array(one.ids, dtype), seam) for one, seam in zip(whole, seams, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """A piece of a long text, and what stands before it."""

    start: int  # bytes
    stop: int
    text: str
    before: int  # characters that stand before the piece

    @staticmethod
    def of(utf8: memoryview, start: int, stop: int) -> "_Window":
        begin = max(0, start - _BEFORE)
        while begin < start and utf8[begin] & 0xC0 == 0x80:  # inside a character
            begin += 1
        before = len(str(utf8[begin:start], "utf-8"))
        return _Window(start=start, stop=stop, text=str(utf8[begin:stop], "utf-8"), before=before)

    @property
    def seam(self) -> str:
        """What stands before the piece, and as much of it: little enough to ask where each token begins."""
        return self.text[: 2 * self.before]

    def ids(self, whole: Ids, seam: Encoding, earlier: Ids) -> Ids | None:
        """The ids of the piece, of `whole`, those of the window; None where it cannot follow the piece before it.

        Half of what stands before the piece, and half of the seam behind, are too near to an end to be compared.
        """
        if not self.before:
            return whole
        middle, first = _token(seam, self.before // 2), _token(seam, self.before)
        later = self.before + self.before // 2
        behind = _token(seam, later) if later < len(self.text) else len(seam.ids)
        if middle is None or first is None or behind is None or not middle < first < behind:
            return None
        if _begins_at(seam, first) != self.before:
            return None
        expected = np.array(seam.ids[:behind], whole.dtype)
        agree = np.array_equal(whole[middle:behind], expected[middle:])
        return whole[first:] if agree and np.array_equal(expected[middle:first], earlier[middle - first :]) else None


def _token(encoding: Encoding, place: int) -> int | None:
    """The token that a character belongs to."""
    token: int | None = encoding.char_to_token(place)
    return token


def _begins_at(encoding: Encoding, token: int) -> int | None:
    """The character that a token begins with."""
    found: tuple[int, int] | None = encoding.token_to_chars(token)
    return None if found is None else found[0]


def _joined(parts: list[Ids], dtype: Any) -> Ids:
    """One array; the parts are let go as they are copied."""
    joined: Ids = np.empty(sum(map(len, parts)), dtype)
    place = 0
    parts.reverse()
    while parts:
        part = parts.pop()
        joined[place : place + len(part)] = part
        place += len(part)
    return joined
