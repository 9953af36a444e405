"""The weights' gradients tile by tile of the vocabulary: the order for when memory is short.

    for each tile of the vocabulary:                     as wide as the budget allows with all rows
        logits   = hidden @ weight[tile].T               a second time: 8NDV flops in all, not 6NDV
        gradient = exp(logits - lse) * scale - ...       each row's lse, scale and target entries are known already
        d_weight[tile] = gradient.T @ hidden             one product over all rows sums in float32 and rounds once

Nothing of the weight's size exists but the gradient itself; chunked.py's float32 accumulator does not. Where not even a
narrow tile of all rows fits the budget, the rows are cut as well and the tile's gradient is summed in float32.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from lmhead.ops.head_products import HeadProducts, WeightGradient
from lmhead.ops.logit_transform import LogitTransform
from lmhead.ops.problem import Problem, accumulation_dtype
from lmhead.ops.row_softmax import LEAST, RowGradient
from lmhead.ops.workspace import buffer

_LEAST_COLUMNS = 256  # of a tile: narrower products are slow
_PIECE_ELEMENTS = 450_000  # that are turned into gradients at once, in the second-level cache (plan.py)


def weight_gradients(
    problem: Problem,
    wanted: Collection[str],
    products: HeadProducts,
    rows: Tensor | None,  # [n] indices, None for all
    kept: Sequence[RowGradient],
) -> dict[str, Tensor]:
    """d_weight [V, D] and d_adapter_weight [V, R], those that are wanted, by name.

    Args:
        kept: of each chunk of the `rows`, in order.
    """
    V = problem.weight.shape[0]
    parameters = {"weight": problem.weight, "adapter_weight": problem.adapter_weight}
    gradients = {
        name: torch.zeros_like(parameter, memory_format=torch.contiguous_format)
        for name, parameter in parameters.items()
        if name in wanted and parameter is not None
    }
    if not kept:
        return gradients
    of_rows = _joined(kept)
    tiles = _Tiles.of(problem, of_rows, copied=rows is not None or problem.hidden.dtype != problem.compute_dtype)
    pieces = _Pieces(problem, of_rows)
    with tiles.buffers(problem, pieces.copies) as (logits_buffer, piece_buffer):
        for tile in _slices(V, tiles.columns):
            width = tile.stop - tile.start
            sums = {
                name: WeightGradient(d[tile], problem.compute_dtype, tiles.chunks, result=d[tile])
                for name, d in gradients.items()
            }
            for chunk in _slices(tiles.rows, tiles.chunk_rows):
                states = products.rows(chunk if rows is None else rows[chunk])
                logits = logits_buffer[: chunk.stop - chunk.start, :width]
                products.logits(states, logits, tile)
                for piece in _slices(logits.shape[0], tiles.piece_rows):
                    buffers = list(torch.split(piece_buffer[:, :width], tiles.piece_rows))
                    pieces.to_gradient(logits[piece], buffers, slice(chunk.start + piece.start, chunk.stop), tile)
                for name, state in zip(parameters, states, strict=False):
                    if name in sums:
                        sums[name].add(logits, state)
    return gradients


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tiles:
    """How the V x n logits are cut: all rows at once where a tile that is wide enough fits the budget."""

    rows: int
    columns: int
    chunk_rows: int
    piece_rows: int

    @property
    def chunks(self) -> int:
        return math.ceil(self.rows / self.chunk_rows)

    @staticmethod
    def of(problem: Problem, of_rows: RowGradient, *, copied: bool) -> "_Tiles":
        V, D = problem.weight.shape
        n, bytes_each = of_rows.lse.shape[0], problem.compute_dtype.itemsize
        budget = problem.memory_budget - problem.memory_budget // 8  # an eighth is for the pieces
        copied_bytes = D * bytes_each if copied else 0
        columns = max(_LEAST_COLUMNS, (budget // n - copied_bytes) // bytes_each // 64 * 64)
        columns = min(columns, V)
        chunk_rows = max(1, min(n, budget // (columns * bytes_each + copied_bytes)))
        wide = accumulation_dtype(problem.compute_dtype)
        fitting = min(_PIECE_ELEMENTS, problem.memory_budget // 8 // wide.itemsize // 2)
        return _Tiles(
            rows=n, columns=columns, chunk_rows=chunk_rows, piece_rows=max(1, min(chunk_rows, fitting // columns))
        )

    @contextmanager
    def buffers(self, problem: Problem, copies: int) -> Iterator[tuple[Tensor, Tensor]]:
        device, narrow = problem.hidden.device, problem.compute_dtype
        with (
            buffer("logits", (self.chunk_rows, self.columns), narrow, device) as logits,
            buffer("block", (self.piece_rows * copies, self.columns), accumulation_dtype(narrow), device) as pieces,
        ):
            yield logits, pieces


class _Pieces:
    """Turns a few rows of a tile's products into their gradient, from what the rows' first pass left."""

    def __init__(self, problem: Problem, of_rows: RowGradient) -> None:
        self.of_rows = of_rows
        self.transform = LogitTransform(problem, ())  # the bias and the scale have their gradients already
        self.widens = problem.compute_dtype != accumulation_dtype(problem.compute_dtype)
        self.copies = int(self.widens) + self.transform.copies + int(of_rows.slope is not None)

    def to_gradient(self, products: Tensor, buffers: list[Tensor], rows: slice, tile: slice) -> None:
        """In place, for products [R, width] of the `tile` and R rows from rows.start on."""
        R = products.shape[0]
        rows = slice(rows.start, rows.start + R)
        spare = [copy[:R] for copy in buffers]
        x = spare.pop().copy_(products) if self.widens else products
        kept = self.transform.forward(x, spare, tile)
        of_rows = self.of_rows
        x.sub_(of_rows.lse[rows])
        if of_rows.slope is None:
            x.exp_().mul_(of_rows.scale[rows])
        else:
            log_p = x.clamp_(min=LEAST)
            p = torch.exp(log_p, out=spare.pop())
            x.mul_(of_rows.slope[rows]).add_(of_rows.scale[rows]).mul_(p)
        if of_rows.share is not None:
            x.sub_(of_rows.share[rows])
        targets = of_rows.targets[rows]
        row, k = ((targets >= tile.start) & (targets < tile.stop)).nonzero(as_tuple=True)
        x[row, targets[row, k] - tile.start] = of_rows.at_target[rows][row, k]
        self.transform.backward(x, kept, tile)
        if x is not products:
            products.copy_(x)


def _slices(size: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]


def _joined(kept: Sequence[RowGradient]) -> RowGradient:
    """One RowGradient of all chunks' rows."""

    def joined(name: str) -> Tensor | None:
        parts = [getattr(part, name) for part in kept]
        return None if parts[0] is None else torch.cat(parts)

    return RowGradient(**{field.name: joined(field.name) for field in fields(RowGradient)})  # type: ignore[arg-type]
