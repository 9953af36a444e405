"""Documents -> a stream of token ids, in bounded memory: a batch at a time, a long document in windows.

The ids are those of each document encoded whole. A window begins some text before the place where it counts, and what
it makes of that text is compared with what its neighbour made of it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from lmhead.data.progress import Progress, unheard
from lmhead.data.text_ends import TextEnds
from lmhead.labels.packing import Ids, TokenStream
from lmhead.training.documents import Documents
from lmhead.training.text_pieces import spans
from lmhead.training.tokenizer import encode_documents

_BATCH: Final = 2**20  # bytes that are encoded at once: a token takes a hundred bytes until it is a number
_AT_ONCE: Final = 4  # windows
_BEFORE: Final = 2048  # bytes of a window before the place where it counts


def encode_stream(
    tokenizer: Tokenizer, documents: Documents, ends: TextEnds, progress: Progress = unheard
) -> TokenStream:
    """The ids of each document between its ends; control tokens written in a text stay plain text."""
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    dtype = np.dtype(np.uint16 if largest < 2**16 else np.uint32)
    parts: list[Ids] = []
    lengths: list[int] = []
    done, total = 0, documents.bytes
    for batch in _batches(documents):
        if isinstance(batch, memoryview):
            found = _long(tokenizer, batch, ends, dtype, _behind(progress, done, total))
            done += len(batch)
            lengths.append(sum(map(len, found)))
            parts += found
        else:
            encoded = encode_documents(tokenizer, [str(utf8, "utf-8") for utf8 in batch], ends)
            done += sum(map(len, batch))
            lengths += map(len, encoded)
            parts.append(np.fromiter(chain.from_iterable(encoded), dtype, sum(map(len, encoded))))
        progress("tokenising", done, total, "bytes")
    return TokenStream(ids=_joined(parts, dtype), ends=np.cumsum(np.asarray(lengths, np.int64), dtype=np.int64))


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


def _long(
    tokenizer: Tokenizer, utf8: memoryview, ends: TextEnds, dtype: Any, reached: Callable[[int], None]
) -> list[Ids]:
    """The ids of one long text, with its two ends; encoded whole, in much memory, where windows cannot be joined."""
    tokenizer.encode_special_tokens = True
    parts: list[Ids] = [np.array(ends.begin, dtype)]
    waiting = list(spans(utf8))
    for first in range(0, len(waiting), _AT_ONCE):
        windows = [_Window.of(utf8, *span) for span in waiting[first : first + _AT_ONCE]]
        encodings = tokenizer.encode_batch([window.text for window in windows], add_special_tokens=False)
        for window, encoding in zip(windows, encodings, strict=True):
            ids = window.ids(encoding, parts[-1])
            if ids is None:
                [whole] = encode_documents(tokenizer, [str(utf8, "utf-8")], ends)
                return [np.array(whole, dtype)]
            parts.append(ids.astype(dtype))
        reached(waiting[min(first + _AT_ONCE, len(waiting)) - 1][1])
    return [*parts, np.array([ends.end], dtype)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """A piece of a long text, and what stands before it."""

    text: str
    before: int  # characters that stand before the piece

    @staticmethod
    def of(utf8: memoryview, start: int, stop: int) -> "_Window":
        begin = max(0, start - _BEFORE)
        while begin < start and utf8[begin] & 0xC0 == 0x80:  # inside a character
            begin += 1
        return _Window(text=str(utf8[begin:stop], "utf-8"), before=len(str(utf8[begin:start], "utf-8")))

    def ids(self, encoding: Encoding, earlier: Ids) -> npt.NDArray[np.int64] | None:
        """The ids of the piece; None where it cannot follow `earlier`, the ids of the piece before it."""
        ids = np.array(encoding.ids, np.int64)
        if not self.before:
            return ids
        first = encoding.char_to_token(self.before)
        middle = encoding.char_to_token(self.before // 2)
        if first is None or middle is None or first == 0:
            return None
        place = encoding.token_to_chars(first)
        if place is None or place[0] != self.before:
            return None
        same = first - middle  # tokens before the piece that have much text on both sides
        return ids[first:] if same and np.array_equal(ids[middle:first], earlier[-same:]) else None


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
