"""Overflow: documents that do not fit into a row, or have nothing to learn: what becomes of them, counted.

policy     a document longer than a row
drop       is left out
truncate   keeps its first tokens; the position whose next token was cut off has the reason TRUNCATED
split      becomes several documents; the first token of each but the first is no longer predicted
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lmhead.errors import InputError, require, require_kind
from lmhead.labels.example import Example
from lmhead.ops.checks import require_sizes

Overflow = Literal["drop", "truncate", "split"]
Untrained = Literal["drop", "refuse", "keep"]
OVERFLOWS: tuple[Overflow, ...] = ("drop", "truncate", "split")
UNTRAINED: tuple[Untrained, ...] = ("drop", "refuse", "keep")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What of an example stands in one row, whole or cut."""

    example: Example
    index: int  # of the example among those given
    start: int  # token
    stop: int  # token, exclusive

    @staticmethod
    def whole(index: int, example: Example) -> "Piece":
        """All of the index-th example."""
        return Piece(example=example, index=index, start=0, stop=len(example))

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def cut_off(self) -> bool:
        """Tokens follow in the example that are not in this piece."""
        return self.stop < len(self.example)

    def scored(self) -> int:
        """Number of tokens that are learnt: all but the first, which nothing predicts."""
        return int(self.example.learnt[self.start + 1 : self.stop].sum())


class Fitting:
    """Examples -> pieces of at most `length` tokens, and the count of what that cost.

    Args:
        overflow: what becomes of an example of more than `length` tokens.
        untrained: what becomes of one of which nothing can be learnt in the rows: left out and counted, refused, or
            kept and counted. Of a split example with something to learn, pieces without are left out and counted,
            unless all is kept: a row's tokens do not see the other pieces.
    """

    def __init__(self, *, length: int, overflow: Overflow, untrained: Untrained) -> None:
        require_sizes(length=length)
        require(length >= 2, "length", "be >= 2 tokens", length, "one to read and one to predict")
        for name, value, choices in (("overflow", overflow, OVERFLOWS), ("untrained", untrained, UNTRAINED)):
            known = isinstance(value, str) and value in choices
            require(known, name, f"be one of {', '.join(choices)}", value)
        self.length = length
        self.overflow = overflow
        self.untrained = untrained
        self.counts: Counter[str] = Counter()

    def pieces(self, examples: Iterable[Example]) -> Iterator[Piece]:
        """The pieces of all examples, in their order.

        Raises:
            ArgumentTypeError: what is given is no iterable of Examples.
            InputError: nothing can be learnt of an example, and that is to be refused.
        """
        require_kind("examples", examples, Iterable, "a list of lmhead.Example")
        for index, example in enumerate(examples):
            require_kind(f"examples[{index}]", example, Example, "make one with Example.of, or a ChatLabeler")
            self.counts["documents"] += 1
            self.counts["tokens"] += len(example)
            self.counts["trainable"] += int(example.learnt[1:].sum())
            yield from self._worth_a_place(index, example, self._cut(index, example))

    def _cut(self, index: int, example: Example) -> list[Piece]:
        T, length = len(example), self.length
        if length >= T:
            self.counts["empty"] += T == 0
            return [Piece.whole(index, example)] if T else []
        if self.overflow == "drop":
            self.counts.update(dropped=1, dropped_tokens=T)
            return []
        if self.overflow == "truncate":
            self.counts.update(truncated=1, truncated_tokens=T - length)
            return [Piece(example=example, index=index, start=0, stop=length)]
        starts = range(0, T, length)
        self.counts.update(split=1, pieces=len(starts))
        return [Piece(example=example, index=index, start=at, stop=min(at + length, T)) for at in starts]

    def _worth_a_place(self, index: int, example: Example, pieces: list[Piece]) -> list[Piece]:
        learnt = [piece for piece in pieces if piece.scored()]
        if pieces and not learnt and self.untrained == "refuse":
            raise InputError(_nothing_left(index, example, self.length))
        without = [piece for piece in pieces if not piece.scored()]
        self.counts.update(untrained=len(without), scored=sum(piece.scored() for piece in learnt))
        if self.untrained == "keep":
            return pieces
        self.counts["untrained_tokens"] += sum(len(piece) for piece in without)
        return learnt


def _nothing_left(index: int, example: Example, length: int) -> str:
    learnt = np.flatnonzero(example.learnt[1:]) + 1
    if learnt.size:
        where = f"its first trained token is at {learnt[0]}, and a row has {length}: use longer rows"
    else:
        where = "none of its tokens after the first is trained: mend it"
    return (
        f"document {index} ({len(example)} tokens) has nothing to learn; {where}, or leave such out: untrained='drop'"
    )
