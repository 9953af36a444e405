"""Labelled conversations as training data: packed rows to train on, or one in each; held-out ones one in each."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, final

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from lmhead.batches.contract import DocumentTable, Part
from lmhead.data.labelling.outcome import Labelled
from lmhead.data.rows.row import Place
from lmhead.labels.example import Example, MessageSpan
from lmhead.labels.packing.overflow import Piece
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.packing.packed_rows import PackedRows, pack
from lmhead.labels.packing.packing_report import PackingReport

_QUICK: Final = 64  # conversations of an evaluation along the way
_TOKENS: Final = 8192  # of an evaluation's batch, padding included


@final
class ChatRows:
    """Rows of `length` tokens, several conversations in each. None sees another, or is predicted from it."""

    def __init__(self, labelled: Sequence[Labelled], *, length: int, seed: int, pad_id: int) -> None:
        self._places = [each.place for each in labelled]
        self._examples = [example_of(each) for each in labelled]
        self._rows = pack(self._examples, length=length, overflow="drop", seed=seed, pad_id=pad_id)
        assert self.report.dropped == 0, "the labeler lets nothing through that is longer than a row"

    @property
    def report(self) -> PackingReport:
        """What packing made of them."""
        return self._rows.report

    def take(self, first: int, count: int) -> PackedBatch:
        """The rows first, first + 1, ..., count of them."""
        return self._rows.take(first, count)

    def name(self, source: int) -> str:
        """Where a conversation stands."""
        return str(self._places[source])

    def fingerprint(self) -> str:
        """Of the rows: their tokens, what is learnt of them, and with what weight."""
        return _fingerprint(self._rows)

    def table(self) -> DocumentTable:
        """All conversations."""
        return _table(self._places, self._examples)

    def target_counts(self) -> npt.NDArray[np.int64]:
        """How often each id is learnt."""
        return _target_counts(self._examples)


@final
class SeparateChatRows:
    """Rows of one conversation each, padded at the end to the longest of a batch: for models that mix documents.

    A row is read as one text: padding follows all that is scored, which a causal model cannot see.
    """

    def __init__(self, labelled: Sequence[Labelled], *, length: int, seed: int, pad_id: int) -> None:
        self._places = [each.place for each in labelled]
        self._examples = [example_of(each) for each in labelled]
        pieces = [Piece.whole(index, example) for index, example in enumerate(self._examples)]
        counts = {
            "documents": len(pieces),
            "tokens": sum(map(len, pieces)),
            "scored": sum(piece.scored() for piece in pieces),
        }
        self.report = PackingReport.of(counts, length=length, rows=len(pieces), packed_tokens=counts["tokens"])
        self._rows = PackedRows([[piece] for piece in pieces], report=self.report, seed=seed, pad_id=pad_id)

    def take(self, first: int, count: int) -> PackedBatch:
        """The rows first, first + 1, ..., count of them."""
        rows = self._rows.pieces(first, count)
        longest = max((len(piece) for row in rows for piece in row), default=1)
        return replace(PackedBatch.of(rows, length=longest, pad_id=self._rows.pad_id), isolated=False)

    def name(self, source: int) -> str:
        """Where a conversation stands."""
        return str(self._places[source])

    def fingerprint(self) -> str:
        """Of the conversations: their tokens, what is learnt of them, and with what weight."""
        return _fingerprint(self._rows)

    def table(self) -> DocumentTable:
        """All conversations."""
        return _table(self._places, self._examples)

    def target_counts(self) -> npt.NDArray[np.int64]:
        """How often each id is learnt."""
        return _target_counts(self._examples)


@final
class HeldOutChat:
    """Every token of held-out conversations that is to be learnt, each after all that stands before it.

    Args:
        lossless: whether tokens give texts back; else no bytes are counted, and there are no bits per byte.
    """

    answers = True
    text = None

    def __init__(
        self, labelled: Sequence[Labelled], tokenizer: Tokenizer, *, length: int, lossless: bool = True
    ) -> None:
        self._places = [each.place for each in labelled]
        self.examples = [example_of(each) for each in labelled]
        self._table = _table(self._places, self.examples)
        self._pieces = [Piece.whole(index, example) for index, example in enumerate(self.examples)]
        self._scored = np.array([piece.scored() for piece in self._pieces])
        self.tokens = sum(map(len, self._pieces))
        self.scored = int(self._scored.sum())
        answers = [ids for example in self.examples for ids in answers_of(example)]
        texts = tokenizer.decode_batch(answers) if lossless else []
        self.bytes = sum(len(text.encode()) for text in texts)  # control tokens are no text
        self.window = self.stride = length

    def fingerprint(self) -> str:
        """Of the conversations: their tokens, and what is learnt of them."""
        digest = hashlib.sha256()
        for example in self.examples:
            digest.update(_written(example))
        return digest.hexdigest()

    def batches(self, part: Part | None = None) -> Iterator[PackedBatch]:
        """Conversations of similar lengths together, each in a row of its own that is padded at its end."""
        for pieces in self._together(part):
            batch = PackedBatch.of([[piece] for piece in pieces], length=len(pieces[0]))
            yield replace(batch, isolated=False)  # padding follows all that is scored, which a causal model cannot see

    def read(self, part: Part | None = None) -> int:
        """Positions of the batches, padding included."""
        return sum(len(pieces) * len(pieces[0]) for pieces in self._together(part))

    def table(self) -> DocumentTable:
        """All conversations."""
        return self._table

    def name(self, source: int) -> str:
        """Where a conversation stands."""
        return str(self._places[source])

    def spans(self, source: int) -> tuple[MessageSpan, ...]:
        """The messages of a conversation."""
        return self.examples[source].spans

    def _together(self, part: Part | None) -> Iterator[list[Piece]]:
        waiting: list[Piece] = []
        for piece in sorted(self._picked(part), key=len, reverse=True):
            if waiting and (len(waiting) + 1) * len(waiting[0]) > _TOKENS:
                yield waiting
                waiting = []
            waiting.append(piece)
        yield waiting

    def _picked(self, part: Part | None) -> list[Piece]:
        if part is None:
            return self._pieces
        count = _QUICK if part.tokens is None else len(self.examples)
        while True:
            places = np.linspace(0, len(self.examples) - 1, min(count, len(self.examples))).astype(np.int64)
            scored = int(self._scored[places].sum())
            if part.tokens is None or scored <= part.tokens or len(places) == 1:
                return [self._pieces[place] for place in places]
            count = max(1, min(len(places) - 1, len(places) * part.tokens // scored))


def example_of(labelled: Labelled) -> Example:
    """The Example of a row that was not refused."""
    assert labelled.example is not None, labelled.refusal
    return labelled.example


def answers_of(example: Example) -> list[list[int]]:
    """The ids of each run of tokens that are scored: learnt, and not the first, which nothing predicts."""
    learnt = example.learnt.copy()
    learnt[:1] = False
    places = np.flatnonzero(learnt)
    runs = np.split(places, np.flatnonzero(np.diff(places) != 1) + 1)
    return [example.ids[run].tolist() for run in runs if len(run)]


def _table(places: Sequence[Place], examples: Sequence[Example]) -> DocumentTable:
    numbers = {source: number for number, source in enumerate(dict.fromkeys(place.origin for place in places))}
    return DocumentTable(
        sources=list(numbers),
        source=np.array([numbers[place.origin] for place in places], np.int64),
        tokens=np.array([len(example) for example in examples], np.int64),
        scored=np.array([int(example.learnt[1:].sum()) for example in examples], np.int64),
    )


def _target_counts(examples: Sequence[Example]) -> npt.NDArray[np.int64]:
    learnt = [example.ids[1:][example.learnt[1:]] for example in examples]
    return np.bincount(np.concatenate([np.empty(0, np.int32), *learnt])).astype(np.int64)


def _fingerprint(rows: PackedRows) -> str:
    digest = hashlib.sha256()
    for row in rows.rows:
        digest.update(f"row of {len(row)}".encode())
        for piece in row:
            digest.update(_written(piece.example))
    return digest.hexdigest()


def _written(example: Example) -> bytes:
    """Tokens, what is learnt of them, and with what weight."""
    weight = b"" if example.weight is None else example.weight.tobytes()
    return f"{len(example)} tokens".encode() + example.ids.tobytes() + example.trained.tobytes() + weight
