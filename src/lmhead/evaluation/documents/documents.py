"""Documents: a stream of EvaluationDocuments, read anew by each iteration, and what the last one met."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from lmhead.data.rows.reading import counted
from lmhead.errors import InputError
from lmhead.evaluation.documents.document import EvaluationDocument
from lmhead.evaluation.documents.prefix import Prefix
from lmhead.labels.targets import Reason
from lmhead.options import Message, option

_UNTRAINED: Final = "nothing_to_train"
Made = Callable[["Documents"], Iterator[EvaluationDocument]]


class Documents:
    """What is scored of data, in the data's order. One document at a time is in memory, and what is read ahead.

    Args:
        made: reads the documents, and counts what it leaves out and loses here.
        data: the paths, for messages.
        prefix: what stands before texts.
        size: bytes of the files, for progress; None: not known before they are read.
        limit: so many documents at most.
    """

    def __init__(
        self,
        made: Made,
        *,
        data: tuple[str, ...],
        prefix: Prefix,
        size: int | None = None,
        limit: int | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self._made, self._limit, self._notes = made, limit, notes
        self.data, self.prefix, self.size = data, prefix, size
        self._begin()

    def _begin(self) -> None:
        self.read = 0  # bytes of the files, so far
        self.documents = 0  # with a scored token
        self.tokens = 0  # of them, scored or not
        self.scored = 0  # tokens
        self.bytes = 0  # of the text that is scored; where none is `lost`, of all of it
        self.refused: Counter[str] = Counter()  # rows by kind: of RefusalKind
        self.first_refused: dict[str, Message] = {}  # of each kind
        self.skipped: Counter[Reason] = Counter()  # tokens that are not scored
        self.forms: Counter[str] = (
            Counter()
        )  # documents by what they are: texts, conversations, completions, rows of ids
        self.lost = 0  # documents whose text does not come back from their tokens: they have no bytes
        self.first_lost: str | None = None
        self.limited = False  # there are more documents than the limit
        self.lines: tuple[str, ...] = ()  # what a reader has to tell
        self._digest = hashlib.sha256()

    def __iter__(self) -> Iterator[EvaluationDocument]:
        self._begin()
        for document in self._made(self):
            if self.documents == self._limit:
                self.limited = True
                break
            skipped = _skipped(document)
            self.skipped.update(skipped)
            if not document.scored.any():
                self.refuse(_UNTRAINED, Message(f"{document.name} has no token that is scored"))
                continue
            self.documents += 1
            self.tokens += len(document)
            self.scored += len(document) - skipped.total()
            self.bytes += document.bytes or 0
            _hash(self._digest, document)
            yield document
        if not self.scored:
            raise self._nothing()

    def refuse(self, kind: str, message: Message) -> None:
        """Count a row that is no document."""
        self.refused[kind] += 1
        self.first_refused.setdefault(kind, message)

    def lose(self, name: str, reason: str) -> None:
        """Count a document without bytes."""
        self.lost += 1
        self.first_lost = self.first_lost or f"{name}: {reason}"

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of the scored text of the documents that were read; of those without bytes, of their ids."""
        return self._digest.hexdigest()

    @property
    def told(self) -> tuple[str, ...]:
        """What has to be said of the data, a sentence each, once they were read."""
        lines = [*self._notes, *self.lines]
        if self.limited:
            lines.append(
                Message(f"only the first {counted(self.documents, 'document')}: {option('limit', self._limit)}")
            )
        for kind, count in self.refused.most_common():
            lines.append(Message(f"left out: {kind} {count:,}, the first: {self.first_refused[kind].marked}"))
        if self.lost:
            of = f"{self.lost:,} of {counted(self.documents, 'document')}"
            lines.append(f"texts do not come back from their tokens: {of}; the first: {self.first_lost}")
        return tuple(lines)

    def facts(self) -> dict[str, Any]:
        """What was read, for JSON."""
        return {
            "data": list(self.data),
            "fingerprint": self.fingerprint,
            "documents": self.documents,
            "forms": dict(self.forms),
            "tokens": self.tokens,
            "scored": self.scored,
            "skipped": {reason.name.lower(): count for reason, count in self.skipped.most_common()},
            "refused": dict(self.refused.most_common()),
            "lost": self.lost,
            "limited": self.limited,
            "prefix": {
                "ids": list(self.prefix.ids),
                "tokens": list(self.prefix.names),
                "origin": self.prefix.origin,
                "told": self.prefix.told(),
            },
            "told": list(map(str, self.told)),
        }

    def _nothing(self) -> InputError:
        why = [f"{kind} {count:,}" for kind, count in self.refused.most_common()]
        why += [f"{reason.name.lower()} {count:,}" for reason, count in self.skipped.most_common()]
        first = next(iter(self.first_refused.values()), None)
        told = f" ({', '.join(why)})" if why else ""
        return InputError(
            f"{', '.join(self.data)} must hold a token to score, got no token scored{told}"
            + (f"; the first: {first.marked}" if first is not None else ": give a text of two tokens or more")
        )


def _skipped(document: EvaluationDocument) -> Counter[Reason]:
    """Tokens that are not scored, by reason; what weighs nothing counts so, and the first token as a boundary."""
    example = document.example
    reason = np.where(example.trained & ~example.learnt, np.uint8(Reason.ZERO_WEIGHT), example.reason)
    if len(reason) and reason[0] == int(Reason.SCORED):
        reason[0] = int(Reason.DOCUMENT_BOUNDARY)
    counts = np.bincount(reason[~document.scored], minlength=1)
    return Counter({Reason(value): int(counts[value]) for value in np.flatnonzero(counts).tolist()})


def _hash(digest: "hashlib._Hash", document: EvaluationDocument) -> None:
    """Equal texts are equal in any tokenizer."""
    if document.utf8 is not None:
        digest.update(b"text %d " % len(document.utf8) + document.utf8)
        return
    example = document.example
    digest.update(b"ids %d " % len(document) + example.ids.tobytes() + document.scored.tobytes())
