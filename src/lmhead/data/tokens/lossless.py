"""Lossy tokenizers: texts that do not come back from their tokens, found on the data.

A tokenizer with an unknown token, or one that folds case or accents, gives other texts the same tokens. The loss of
these tokens is no number of bits for the text, and no bits per byte may be claimed from it.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from tokenizers import Tokenizer

from lmhead.data.sets.documents import Documents
from lmhead.data.tokenizer.plain_text import PlainText
from lmhead.data.tokenizer.text_ends import TextEnds
from lmhead.labels.packing.wrapped_rows import DocumentStream

_AT_ONCE: Final = 2**18  # tokens that are decoded at a time
_SHOWN: Final = 24  # characters


def first_loss(tokenizer: Tokenizer, documents: Documents, stream: DocumentStream, ends: TextEnds) -> str | None:
    """What becomes of the first text that its tokens do not give back, as `'Été' comes back as 'ete'`; None: all do.

    A space that the tokenizer puts before a text loses nothing.
    """
    texts = documents.every_utf8()
    for batch in _batches(stream, ends):
        decoded = tokenizer.decode_batch(batch, skip_special_tokens=False)
        for utf8, back in zip(islice(texts, len(batch)), decoded, strict=True):
            if (lost := loss(str(utf8, "utf-8"), back)) is not None:
                return lost
    return None


def first_text_lost(tokenizer: Tokenizer, texts: Iterable[str]) -> str | None:
    """The same of texts that are encoded for it: those of messages, of which labels keep the tokens alone."""
    plain = PlainText(tokenizer)
    for text in texts:
        back = tokenizer.decode(plain.ids(text), skip_special_tokens=False)
        if (lost := loss(text, back)) is not None:
            return lost
    return None


def loss(text: str, back: str) -> str | None:
    """What became of a text that came back so; None where nothing did."""
    return None if back in (text, f" {text}") else _difference(text, back)


def _batches(stream: DocumentStream, ends: TextEnds) -> Iterator[list[list[int]]]:
    """The ids of the documents without their ends."""
    batch: list[list[int]] = []
    size = start = 0
    for stop in stream.ends.tolist():
        batch.append(stream.ids[start + len(ends.begin) : stop - 1].tolist())
        size += stop - start
        start = stop
        if size >= _AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _difference(text: str, back: str) -> str:
    place = next((i for i, (one, other) in enumerate(zip(text, back, strict=False)) if one != other), None)
    place = min(len(text), len(back)) if place is None else place
    begin = max(0, place - _SHOWN // 2)
    return f"{text[begin : begin + _SHOWN]!r} comes back as {back[begin : begin + _SHOWN]!r}"
