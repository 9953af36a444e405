"""Tiles of the vocabulary: how wide, over how many rows, and the buffers they are made in."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from lmhead.ops.problem import Problem, accumulation_dtype
from lmhead.ops.products.plan import BLOCK_ELEMENTS
from lmhead.ops.products.workspace import buffer

_LEAST_COLUMNS = 256  # of a tile: narrower products are slow


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """A cut of n x V logits. A tile is multiplied whole, and turned piece by piece, in float32, in the cache."""

    rows: int  # n
    vocab_size: int  # V
    columns: int  # of a tile
    chunk_rows: int  # that a tile is multiplied for at once
    piece_rows: int  # that are turned at once

    @staticmethod
    def of(problem: Problem, n: int, *, most_rows: int, most_columns: int, copied: bool) -> "Tiles":
        """As large as the budget allows, rows first.

        Args:
            copied: the rows of a chunk are gathered or cast, which takes memory as well.
        """
        V, D = problem.weight.shape
        narrow, wide = problem.compute_dtype.itemsize, accumulation_dtype(problem.compute_dtype).itemsize
        budget = problem.memory_budget - problem.memory_budget // 4  # an eighth for pieces, one for 16-bit products
        copied_bytes = D * narrow if copied else 0
        wanted_rows = max(1, min(n, most_rows))
        columns = max(_LEAST_COLUMNS, (budget // wanted_rows - copied_bytes) // narrow // 64 * 64)
        columns = min(columns, V, most_columns)
        fitting = min(BLOCK_ELEMENTS, problem.memory_budget // 8 // wide // 2)
        chunk_rows = max(1, min(wanted_rows, budget // (columns * narrow + copied_bytes)))
        return Tiles(
            rows=n,
            vocab_size=V,
            columns=columns,
            chunk_rows=chunk_rows,
            piece_rows=max(1, min(chunk_rows, fitting // columns // 2 * 2)),
        )

    @property
    def chunks(self) -> int:
        """How many chunks the rows are cut into."""
        return math.ceil(self.rows / self.chunk_rows)

    def of_vocabulary(self) -> list[slice]:
        """The columns of each tile."""
        return slices(self.vocab_size, self.columns)

    def of_rows(self) -> list[slice]:
        """The rows of each chunk."""
        return slices(self.rows, self.chunk_rows)

    @contextmanager
    def buffers(self, problem: Problem, copies: int) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """(one tile's products, `copies` float32 pieces)."""
        device, narrow = problem.hidden.device, problem.compute_dtype
        with (
            buffer("logits", (self.chunk_rows, self.columns), narrow, device) as products,
            buffer("block", (self.piece_rows * copies, self.columns), accumulation_dtype(narrow), device) as pieces,
        ):
            yield products, list(pieces.tensor_split(copies)) if copies else []


def slices(size: int, step: int) -> list[slice]:
    """Consecutive slices of at most `step` that cover `size`."""
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]
