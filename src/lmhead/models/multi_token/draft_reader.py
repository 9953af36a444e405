"""DraftReader, what speculative decoding asks of a model: rows read at any place, again where a draft was wrong.

    read    ids behind what a row has read -> the decoder's states: what verifies the drafts
    module  states and embeddings -> those of one module, through keys and values of its own: what drafts

Both are told where each row goes on (`Span`); what the row held from there on is forgotten. So nothing has to be taken
back, and rows of a batch may be of different lengths. Not here: what is drafted and taken (generation/speculative.py).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lmhead.models.multi_token.predictor import MultiTokenModule
    from lmhead.models.multi_token.trunk import Trunk


@dataclass(frozen=True, slots=True)
class Span:
    """Which places of which rows: row `rows[b]` at `start[b]`, `start[b]` + 1, .., so many as `count[b]`."""

    rows: Sequence[int]
    start: Sequence[int]
    count: Sequence[int]  # >= 1

    @property
    def width(self) -> int:
        """T: the longest count; tensors of a span are [B, T, ..], and what lies behind a row's count is of no use."""
        return max(self.count)


class DraftReader(ABC):
    """Reads a batch of rows for speculative decoding; no gradient flows through it. Places are counted from 0."""

    @abstractmethod
    def read(
        self,
        ids: Tensor,  # [B, T]
        span: Span,
    ) -> tuple[Tensor, Tensor]:
        """The decoder's states [B, T, D] of these ids, behind its final norm and before it."""

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """The embeddings [B, T, D] of ids [B, T], as `Trunk.embedded`."""

    @abstractmethod
    def module(
        self,
        depth: int,
        module: "MultiTokenModule",
        hidden: Tensor,  # [B, T, D]
        embedded: Tensor,  # [B, T, D]
        span: Span,
    ) -> tuple[Tensor, Tensor]:
        """What `module(hidden, embedded, ..)` gives at these places, each looking at those of its row before it.

        Args:
            depth: from 1; each has keys and values of its own, also where all run one module.
            span: within what `read` has read of these rows.
        """


@final
class AnewDraftReader(DraftReader):
    """Reads a row again from its beginning each time, without any cache: right for every decoder, and slow.

    Args:
        trunk_of: Backbone.trunk of ids [1, T].
        rows: the batch's size.
    """

    def __init__(self, trunk_of: "Callable[[Tensor], Trunk]", *, rows: int) -> None:
        self._trunk_of = trunk_of
        self._ids: list[Tensor | None] = [None] * rows  # [T]
        self._trunks: list[Trunk | None] = [None] * rows
        self._read: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}  # of a row and depth, what its module read

    @torch.inference_mode()
    def read(self, ids: Tensor, span: Span) -> tuple[Tensor, Tensor]:
        """The decoder's states [B, T, D] of these ids, behind its final norm and before it."""
        normed, unnormed = [], []
        for each, row, start, count in zip(ids, span.rows, span.start, span.count, strict=True):
            whole = _behind(self._ids[row], start, each[:count])
            trunk = self._trunk_of(whole[None])
            self._ids[row], self._trunks[row] = whole, trunk
            normed.append(trunk.hidden[0, start:])
            unnormed.append(trunk.unnormed[0, start:])
        return _stacked(normed), _stacked(unnormed)

    @torch.inference_mode()
    def embed(self, ids: Tensor) -> Tensor:
        """The embeddings [B, T, D] of ids [B, T]."""
        return torch.cat([self._trunk_of(row[None]).embedded for row in ids])

    @torch.inference_mode()
    def module(
        self, depth: int, module: "MultiTokenModule", hidden: Tensor, embedded: Tensor, span: Span
    ) -> tuple[Tensor, Tensor]:
        """What the module gives, from everything that it has read of the row."""
        states, normed = [], []
        for at, (row, start, count) in enumerate(zip(span.rows, span.start, span.count, strict=True)):
            trunk, before = self._trunks[row], self._read.get((row, depth), (None, None))
            assert trunk is not None  # the decoder has read the row
            read = (_behind(before[0], start, hidden[at, :count]), _behind(before[1], start, embedded[at, :count]))
            self._read[row, depth] = read
            room = trunk.hidden.shape[1]  # of masks and rotations; what is behind the module's places is seen by none
            made = module(*(_padded(each, room)[None] for each in read), *trunk.arguments, **trunk.keywords)
            states.append(made[0][0, start : start + count])
            normed.append(made[1][0, start : start + count])
        return _stacked(states), _stacked(normed)


def _behind(before: Tensor | None, start: int, more: Tensor) -> Tensor:
    """`more` [T, ..] behind the first `start` of what was there."""
    return more if before is None else torch.cat([before[:start], more])


def _padded(rows: Tensor, length: int) -> Tensor:
    """`rows` [T, ..] with zeros behind them, `length` in all."""
    padded = rows.new_zeros(length, *rows.shape[1:])
    padded[: len(rows)] = rows
    return padded


def _stacked(rows: list[Tensor]) -> Tensor:
    """Rows [T, ..] of different lengths as one [B, T, ..]."""
    longest = max(map(len, rows))
    return torch.stack([_padded(row, longest) for row in rows])
