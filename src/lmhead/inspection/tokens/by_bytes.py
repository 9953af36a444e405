"""Two models with two tokenizers, compared over the same bytes: tokens of one beside those of the other.

The text of each document is tokenised anew for the other model, stretch by stretch between the control tokens, which
have a name in both or are spelled out. Where both have a border at the same byte, a span ends: the losses of the two
over one span are of the same text, and their sums may be compared.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from lmhead.data.tokenizer.plain_text import PlainText
from lmhead.errors import IGNORE_INDEX, ArgumentError
from lmhead.given.given_model import GivenModel
from lmhead.given.given_tokenizer import GivenTokenizer
from lmhead.inspection.tokens.scored_rows import documents_of, scored_rows
from lmhead.inspection.tokens.shown_piece import shown_piece
from lmhead.labels.targets import Reason
from lmhead.record.token_row import OtherSpan, TokenRow

_HALF_A_PAIR: Final = re.compile("[\udc80-\udcff]")


def other_spans(
    rows: Sequence[TokenRow], tokenizer: GivenTokenizer, given: GivenModel, other: GivenTokenizer, *, crossing: bool
) -> list[tuple[OtherSpan, ...]]:
    """Of each row, what the other model makes of its bytes, span by span.

    Args:
        tokenizer: of the rows.
        given, other: the other model, and its tokenizer.

    Raises:
        ArgumentError: one of the tokenizers is written in Python, and does not say which bytes a token stands for.
        InputError: the other tokenizer does not fit the other model.
    """
    translation = _Translation(tokenizer, other)
    texts: list[tuple[int, int, int, _Translated]] = []  # row, start, stop
    for number, row in enumerate(rows):
        for start, stop in documents_of(row, crossing=crossing):
            texts.append((number, start, stop, translation.of(row.ids[start:stop].tolist())))
    scores = scored_rows([_row(made.ids) for *_, made in texts], given, crossing=False, top=0)
    found: list[list[OtherSpan]] = [[] for _ in rows]
    for (number, start, _, made), each in zip(texts, scores, strict=True):
        nll = np.concatenate([[np.nan], each.nll[:-1]])  # of the token itself
        found[number] += _spans(made, nll, start, other)
    return [tuple(spans) for spans in found]


@dataclass(slots=True)
class _Translated:
    """A document in both tokenizers: where each token ends, in bytes of the text that both are of."""

    own: list[int] = field(default_factory=list)  # ends
    ids: list[int] = field(default_factory=list)  # of the other
    ends: list[int] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self.own[-1] if self.own else 0


class _Translation:
    """Ids of one tokenizer -> ids of another, of the same text."""

    def __init__(self, tokenizer: GivenTokenizer, other: GivenTokenizer) -> None:
        if other.backend is None:
            raise ArgumentError(
                f"against_tokenizer must say which bytes its tokens stand for, got {other.name}, which is written in "
                "Python: give a fast one"
            )
        self._tokenizer, self._other = tokenizer, other
        self._prefix = PlainText(other.backend).prefix
        self._backend, self._plain = other.backend, _without_control(other.backend)
        self._own = None if tokenizer.backend is None else _without_control(tokenizer.backend)
        ends = {"bos": other.special.bos, "eos": other.special.eos}
        self._ends = {getattr(tokenizer.special, name): number for name, number in ends.items() if number is not None}

    def of(self, ids: Sequence[int]) -> _Translated:
        """One document."""
        made = _Translated()
        if self._prefix and (not ids or self._same(ids[0]) != self._prefix[0]):  # what its model has always read first
            made.ids += self._prefix
            made.ends += [0] * len(self._prefix)
        for same, stretch in groupby(ids, key=self._same):
            if same is None:
                self._add(made, list(stretch))
                continue
            for number in stretch:
                made.own.append(made.size + len(self._spelled(number)))
                made.ids.append(same)
                made.ends.append(made.size)
        return made

    def _same(self, number: int) -> int | None:
        """The other's id of a control token: of the same name, or what begins or ends a text in both."""
        if not self._tokenizer.text.is_control(number):
            return None
        found = self._backend.token_to_id(self._spelled(number).decode())
        return self._ends.get(number) if found is None else int(found)

    def _spelled(self, number: int) -> bytes:
        return self._tokenizer.text.spelled(number) or b""

    def _add(self, made: _Translated, ids: list[int]) -> None:
        """A stretch of text."""
        begin, pieces = made.size, list(map(self._spelled, ids))
        if self._is_marked(pieces, ids):  # a space that the tokenizer puts before a text is none of the text
            pieces[0] = pieces[0][1:]
        utf8 = b"".join(pieces)
        made.own += (begin + np.cumsum([len(piece) for piece in pieces])).tolist()
        escaped = utf8.decode("utf-8", "surrogateescape")  # a byte that is of no character is half a pair, alone
        text = _HALF_A_PAIR.sub("\ufffd", escaped)
        encoded = self._plain.encode(text, add_special_tokens=False)
        spelled = [self._other.text.spelled(number) or b"" for number in encoded.ids]
        if b"".join(spelled) == utf8:
            ends = np.cumsum([len(piece) for piece in spelled]).tolist()
        else:  # it normalises, puts a space in front, or has no such bytes: by its own offsets
            before = np.cumsum([0, *(len(character.encode("utf-8", "surrogateescape")) for character in escaped)])
            ends = [*(int(before[stop]) for _, stop in encoded.offsets[:-1]), *([len(utf8)] if encoded.ids else [])]
        made.ids += encoded.ids
        made.ends += [begin + end for end in ends]

    def _is_marked(self, pieces: list[bytes], ids: list[int]) -> bool:
        """Whether the stretch begins with a space that comes from the tokenizer, not from the text."""
        if self._own is None or not pieces[0].startswith(b" "):
            return False
        without = b"".join(pieces)[1:].decode("utf-8", "replace")
        return bool(self._own.encode(without, add_special_tokens=False).ids == ids)


def _without_control(backend: Tokenizer) -> Tokenizer:
    """A copy to which control tokens that are written in a text are text."""
    plain = Tokenizer.from_str(backend.to_str())
    plain.no_truncation()
    plain.no_padding()
    plain.encode_special_tokens = True
    return plain


def _row(ids: Sequence[int]) -> TokenRow:
    """A row of which nothing is known but its ids."""
    return TokenRow(
        ids=np.array(ids, np.int64),
        targets=np.full(len(ids), IGNORE_INDEX, np.int64),
        reason=np.full(len(ids), int(Reason.IGNORED), np.uint8),
    )


def _spans(made: _Translated, nll: npt.NDArray[np.float64], start: int, other: GivenTokenizer) -> Iterator[OtherSpan]:
    """Spans between the bytes at which both have a border; of a prefix that has no bytes, none."""
    own, ends = np.array(made.own), np.array(made.ends)
    shared = np.intersect1d(own, ends)
    for low, high in pairwise([0, *shared[shared > 0].tolist()]):
        mine = np.flatnonzero((own > low) & (own <= high))
        theirs = np.flatnonzero((ends > low) & (ends <= high))
        names = (shown_piece(other.text[made.ids[at]]) for at in theirs)
        yield OtherSpan(
            start=start + int(mine[0]),
            stop=start + int(mine[-1]) + 1,
            nll=float(nll[theirs].sum()),
            text="|".join(names),
        )
