"""How `lmhead sample` gets its tokens, and what it tells of that: plainly, or drafted and verified."""

import textwrap
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Final, final

from lmhead.generation.draft_counts import DraftCounts
from lmhead.generation.sampling import sample
from lmhead.generation.speculative import speculative_sample
from lmhead.models.causal_lm import CausalLM
from lmhead.models.multi_token.multi_token_model import MultiTokenModel

_FEWEST: Final = 16  # tokens: the rate of fewer is chance
_TIMED: Final = 64  # tokens of plain decoding, for comparison, at most
_SECONDS: Final = 5.0  # of it, at most


class Drawing(ABC):
    """Called as `sample` is."""

    @abstractmethod
    def __call__(self, model: CausalLM, ids: Sequence[int], **options: Any) -> Iterator[int]:
        """The tokens that continue `ids`, one by one."""

    @abstractmethod
    def notes(self) -> list[str]:
        """What is to be told of the last call, once its tokens are out: lines of 80 characters at most."""


@final
class PlainDrawing(Drawing):
    """One token with each pass of the model."""

    def __call__(self, model: CausalLM, ids: Sequence[int], **options: Any) -> Iterator[int]:
        """What `sample` gives."""
        return sample(model, ids, **options)

    def notes(self) -> list[str]:
        """Nothing."""
        return []


@final
class SpeculativeDrawing(Drawing):
    """Tokens that were drafted; and how many were taken, in how many passes, how fast.

    Plain decoding is timed once, behind the first text that is long enough, on the beginning of the same text.

    Args:
        draft_tokens: as in `speculative_sample`.
    """

    def __init__(self, draft_tokens: int | None) -> None:
        self._draft_tokens = draft_tokens
        self._counts: DraftCounts | None = None  # of the last call
        self._seconds = 0.0  # of the last call's tokens but the first, which waits for the prompt to be read
        self._first = True
        self._compared: Iterator[int] | None = None
        self._plain: float | None = None  # tokens per second

    def __call__(self, model: CausalLM, ids: Sequence[int], **options: Any) -> Iterator[int]:
        """The tokens that continue `ids`, one by one."""
        assert isinstance(model, MultiTokenModel)
        tokens = speculative_sample(model, ids, draft_tokens=self._draft_tokens, **options)
        self._counts, self._seconds, self._first = tokens.counts, 0.0, True
        if self._plain is None:
            self._compared = sample(model, ids, **options)
        return self._timed(tokens)

    def _timed(self, tokens: Iterator[int]) -> Iterator[int]:
        while True:
            began = time.perf_counter()
            token = next(tokens, None)
            if self._first:
                self._first = False
            else:
                self._seconds += time.perf_counter() - began
            if token is None:
                return
            yield token

    def notes(self) -> list[str]:
        """Acceptance, tokens per forward, and the speed beside plain decoding's."""
        counts = self._counts
        if counts is None or not counts.tokens:
            return []
        return [
            *_taken(counts),
            f"({counts.tokens_per_forward:.2f} tokens per forward: {counts.tokens:,} in {counts.forwards:,})",
            *self._speed(counts),
        ]

    def _speed(self, counts: DraftCounts) -> list[str]:
        if counts.tokens < _FEWEST:
            return []
        if self._plain is None and self._compared is not None:
            self._plain, self._compared = _rate(self._compared), None
        rate = (counts.tokens - 1) / self._seconds
        return (
            []
            if not self._plain
            else [f"({rate:,.0f} tokens/s, {rate / self._plain:.2f} times plain decoding's {self._plain:,.0f})"]
        )


def _taken(counts: DraftCounts) -> list[str]:
    """The share of each depth that was come to; a deep unrolled module has more than fit into a line."""
    shares = [f"{share:.2f}" for share, reached in zip(counts.acceptance, counts.reached, strict=True) if reached]
    said = f"(drafts taken, by depth, of those whose forerunners were: {' '.join(shares)})"
    return textwrap.wrap(said, 80, subsequent_indent=" ") if shares else []


def _rate(tokens: Iterator[int]) -> float | None:
    """Tokens per second of those behind the first; None where there are too few."""
    next(tokens, None)
    began, count = time.perf_counter(), 0
    while count < _TIMED and time.perf_counter() - began < _SECONDS and next(tokens, None) is not None:
        count += 1
    return count / (time.perf_counter() - began) if count + 1 >= _FEWEST else None
