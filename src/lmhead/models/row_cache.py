"""Keys and values of rows of different lengths, each of which may be read on from any place."""

from collections.abc import Collection
from typing import final

import torch
from torch import Tensor

from lmhead.models.config import GPTConfig
from lmhead.models.kv_cache import KVCache, causal_behind
from lmhead.models.multi_token.draft_reader import Span


@final
class RowCache:
    """As KVCache, but every read says where each row goes on; what a row held from there on is forgotten.

        cache = RowCache(model.config, layers=range(4), rows=2, room=64)
        with torch.no_grad():
            cache.go_on(Span((0, 1), (0, 0), (9, 5)))     # a prompt of 9 ids and one of 5
            model.hidden(prompts, cache=cache)            # [2, 9, D]; row 1 is of use up to its fifth
            cache.go_on(Span((0, 1), (8, 5), (2, 2)))     # row 0 again from its last id

    Args:
        layers: the indices of the blocks that use it.
        room: the most places of a row.
    """

    def __init__(
        self,
        config: GPTConfig,
        *,
        layers: Collection[int],
        rows: int,
        room: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        shape = (rows, config.kv_heads, room + 1, config.head_width)  # one more, for what is behind a row's count
        # Zeros: what nobody has written yet is masked, but a NaN there would be a NaN in the sum.
        self._held = {
            layer: (torch.zeros(shape, device=device, dtype=dtype), torch.zeros(shape, device=device, dtype=dtype))
            for layer in layers
        }
        self._rows, self._room, self._context = rows, room, config.max_seq_len
        self._device = torch.device("cpu") if device is None else torch.device(device)
        self.go_on(Span((0,), (0,), (1,)))

    def go_on(self, span: Span) -> None:
        """Have the next read be of these places."""
        self._span, self._end = span, max(start + count for start, count in zip(span.start, span.count, strict=True))
        self._alike = len(set(span.start)) == 1 and len(set(span.count)) == 1  # then slices do
        self._all = len(span.rows) == self._rows and list(span.rows) == list(range(self._rows))
        self._written: tuple[Tensor, Tensor] | None = None
        if not self._alike or not self._all:
            self._written = self._places_written()

    @property
    def length(self) -> int:
        """Where the read begins, such that its T places end with the last that is of use."""
        return self._end - self._span.width

    def places(self, T: int) -> tuple[Tensor, Tensor | None]:
        """(positions [T] or [B, T] of the span, its mask); None: causal within what is read."""
        assert self._span.width == T
        if self._alike:
            start = self._span.start[0]
            mask = causal_behind(start, T, self._device) if start and T > 1 else None
            return torch.arange(start, start + T, device=self._device), mask
        positions = torch.tensor(self._span.start, device=self._device)[:, None] + torch.arange(T, device=self._device)
        mask = torch.arange(self._end, device=self._device) <= positions[:, :, None]
        return positions.clamp_(max=self._context - 1), mask[:, None]

    def advance(self, T: int) -> None:
        """Nothing: the next read says where it goes on."""

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values [B, H, end, head width] of the span's rows, after writing these at its places."""
        held = self._held[layer]
        return self._extended(held[0], keys), self._extended(held[1], values)

    def _extended(self, held: Tensor, new: Tensor) -> Tensor:
        if self._written is None:
            held[:, :, self._span.start[0] : self._end] = new
            return held[:, :, : self._end]
        rows, places = self._written
        held[rows, :, places] = new.transpose(1, 2).to(held.dtype)
        return held[:, :, : self._end] if self._all else held[rows[:, 0], :, : self._end]

    def _places_written(self) -> tuple[Tensor, Tensor]:
        """(rows [B, 1], places [B, T]); what is behind a row's count goes to the place that nobody looks at."""
        T = self._span.width
        places = [
            [start + at if at < count else self._room for at in range(T)]
            for start, count in zip(self._span.start, self._span.count, strict=True)
        ]
        rows = torch.tensor(list(self._span.rows), device=self._device)[:, None]
        return rows, torch.tensor(places, device=self._device)


Cache = KVCache | RowCache  # what a decoder reads through
