"""The sum over chunks of gradient.T @ hidden, kept in float32 (float64) however the chunks are cut."""

from collections.abc import Callable

import torch
from torch import Tensor

from lmhead.ops.problem import accumulation_dtype
from lmhead.ops.products import mixed_product
from lmhead.ops.products.plan import TILE_ROWS


class WeightGradient:
    """The gradient [V, D] of a weight, from one chunk of rows after the other.

    Where products and result have one wide dtype, each product is added inside itself. Where the device adds 16-bit
    products to a float32 matrix (mixed_product.py), that is done, and the sum rounded once at the end. Elsewhere, on a
    CPU,

    - chunks go in pairs: the first one's product is written to the result, whose 16 bits it has anyway; the second
      one's is added inside its product, which sums in float32 and rounds once;
    - each pair's sum is added to a float32 accumulator, which exists only where there are more chunks than one pair;
    - a result of another dtype (a float32 weight under autocast) is added to tile by tile.
    """

    def __init__(
        self,
        parameter: Tensor,  # [V, D]
        compute_dtype: torch.dtype,
        chunks: int,
        *,
        result: Tensor | None = None,
        accumulator: Callable[[], Tensor] | None = None,
        rounding: bool = False,
    ) -> None:
        """For a number of chunks.

        Args:
            result: where the gradient goes; by default new memory.
            accumulator: gives memory for one, [V, D] in float32 or wider; called where one is needed.
            rounding: add every chunk's product to the result in the result's own 16 bits, where these are the
                products': no accumulator, and an error that grows with the chunks.
        """
        wide = accumulation_dtype(compute_dtype)
        self.result = torch.empty_like(parameter, memory_format=torch.contiguous_format) if result is None else result
        assert compute_dtype != wide or self.result.dtype == wide, "products wider than the weight are made by nobody"
        self.chunks, self.done = chunks, 0
        of_one_dtype = self.result.dtype == compute_dtype
        self.mixed = mixed_product.runs(compute_dtype, parameter.device) and not (of_one_dtype and rounding)
        self.in_pairs = compute_dtype != wide and of_one_dtype and not rounding and not self.mixed
        self.by_tile = compute_dtype not in (wide, self.result.dtype) and not self.mixed
        self.accumulator: Tensor | None = None
        if (
            (self.in_pairs and chunks > 2)
            or (self.by_tile and self.result.dtype != wide)
            or (self.mixed and self.result.dtype != wide and chunks > int(of_one_dtype))
        ):
            self.accumulator = accumulator() if accumulator else torch.empty_like(self.result, dtype=wide)
        if chunks == 0:
            self.result.zero_()

    def add(self, gradient: Tensor, hidden: Tensor) -> None:
        """Add gradient [n, V].T @ hidden [n, D]."""
        self.done += 1
        if self.mixed and (self.accumulator is not None or self.result.dtype != hidden.dtype):
            self._add_mixed(gradient, hidden)
        elif self.by_tile:
            self._add_tiles(gradient, hidden)
        elif self.done == 1 or (self.in_pairs and self.done % 2):
            torch.mm(gradient.t(), hidden, out=self.result)
        else:
            self.result.addmm_(gradient.t(), hidden)
        if self.accumulator is not None and self.in_pairs and (self.done % 2 == 0 or self.done == self.chunks):
            for rows in self._tiles(gradient.device):
                self._accumulate(self.result[rows], self.accumulator[rows], rows, first=self.done <= 2)

    @property
    def idle_result(self) -> Tensor | None:
        """The result's memory, where nothing is written to it before the last chunk's product; else None."""
        return self.result if self.mixed and self.accumulator is not None else None

    def _add_mixed(self, gradient: Tensor, hidden: Tensor) -> None:
        total = self.result if self.accumulator is None else self.accumulator
        mixed_product.add(total, gradient.t(), hidden, first=self.done == 1)
        if self.done == self.chunks and self.accumulator is not None:
            self.result.copy_(self.accumulator)

    def _tiles(self, device: torch.device) -> list[slice]:
        V = self.result.shape[0]
        step = TILE_ROWS if device.type == "cpu" else V
        return [slice(start, min(start + step, V)) for start in range(0, V, step)]

    def _add_tiles(self, gradient: Tensor, hidden: Tensor) -> None:
        total = self.result if self.accumulator is None else self.accumulator
        tiles = self._tiles(gradient.device)
        product = hidden.new_empty(tiles[0].stop, hidden.shape[1])
        for rows in tiles:
            tile = torch.mm(gradient[:, rows].t(), hidden, out=product[: rows.stop - rows.start])
            self._accumulate(tile, total[rows], rows, first=self.done == 1)

    def _accumulate(self, tile: Tensor, total: Tensor, rows: slice, *, first: bool) -> None:
        """Add a 16-bit tile to its part of the total; after the last chunk that is the result's."""
        if first:
            total.copy_(tile)
        else:
            total.add_(tile.to(total.dtype))  # of one dtype: a mixed sum runs at a third of the rate
        if self.done == self.chunks and self.accumulator is not None:
            self.result[rows] = total
