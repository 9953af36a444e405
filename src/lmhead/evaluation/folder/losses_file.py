"""losses.bin: where tokens end and their nll, of each document of an evaluation: what another can be aligned with.

A line that says what it is, then a record for each document: its place and number of tokens (two uint32), ends
(uint32), nll (float64), kinds (uint8), all little-endian: 13 bytes a token. Of a document that is written twice the
last record counts, and one that is cut short is none: who goes on after an interruption writes the document again.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, Self

import numpy as np

from lmhead.errors import InputError
from lmhead.evaluation.scores.byte_losses import ByteLosses

LOSSES_FILE: Final = "losses.bin"
_BEGINS: Final = b"lmhead losses of tokens, version 1\n"
_HEAD: Final = np.dtype([("document", "<u4"), ("tokens", "<u4")])
_TOKEN: Final = 13  # bytes


class LossesWriter:
    """Writes a file of losses, or goes on with one.

    Raises:
        InputError: there is another file of that name.
        OSError: the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self._stream = path.open("r+b" if path.exists() else "x+b")
        if path.stat().st_size:
            _require_begins(self._stream, path)
            end = len(_BEGINS)
            for _, start, tokens in _records(self._stream, path.stat().st_size):
                end = start + _TOKEN * tokens
            self._stream.truncate(end)
            self._stream.seek(end)
        else:
            self._stream.write(_BEGINS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def add(self, document: int, losses: ByteLosses) -> None:
        """A document's record.

        Args:
            document: its place among the documents of documents.jsonl, from 0.
        """
        head = np.array([(document, len(losses.nll))], _HEAD)
        parts = head, losses.ends.astype("<u4"), losses.nll.astype("<f8"), losses.kinds.astype(np.uint8)
        self._stream.write(b"".join(part.tobytes() for part in parts))

    def flush(self) -> None:
        """What was added, to the file."""
        self._stream.flush()


class LossesFile:
    """The losses of each document, read when they are asked for.

    Raises:
        InputError: it cannot be read, or is no such file.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._stream = path.open("rb")
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from None
        _require_begins(self._stream, path)
        records = _records(self._stream, path.stat().st_size)
        self._at = {document: (start, tokens) for document, start, tokens in records}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def of(self, document: int) -> ByteLosses | None:
        """Of the document at that place; None: its bytes were not known."""
        if document not in self._at:
            return None
        start, tokens = self._at[document]
        self._stream.seek(start)
        data = self._stream.read(_TOKEN * tokens)
        return ByteLosses(
            ends=np.frombuffer(data, "<u4", tokens).astype(np.int64),
            nll=np.frombuffer(data, "<f8", tokens, offset=4 * tokens),
            kinds=np.frombuffer(data, np.uint8, tokens, offset=12 * tokens),
        )


def _require_begins(stream: BinaryIO, path: Path) -> None:
    if stream.read(len(_BEGINS)) != _BEGINS:
        stream.close()
        raise InputError(f"{path} must be the losses of an evaluation, got another file: evaluate again")


def _records(stream: BinaryIO, size: int) -> Iterator[tuple[int, int, int]]:
    """Of each whole record: its document, where its columns start, and how many tokens it has."""
    while len(head := stream.read(_HEAD.itemsize)) == _HEAD.itemsize:
        document, tokens = np.frombuffer(head, _HEAD)[0].tolist()
        start = stream.tell()
        if start + _TOKEN * tokens > size:
            return
        yield document, start, tokens
        stream.seek(start + _TOKEN * tokens)
