"""The weights' gradients tile by tile of the vocabulary: the order for when memory is short.

    for each tile of the vocabulary:                     as wide as the budget allows with all rows
        logits   = hidden @ weight[tile].T               a second time: 8NDV flops in all, not 6NDV
        gradient = exp(logits - top) * factor - ...      each row's top, factor and target entries are known already
        d_weight[tile] = gradient.T @ hidden             one product over all rows sums in float32 and rounds once

Nothing of the weight's size exists but the gradient itself; chunked.py's float32 accumulator does not. Where not even a
narrow tile of all rows fits the budget, the rows are cut as well and the tile's gradient is summed in float32.
"""

from collections.abc import Collection, Sequence
from dataclasses import fields

import torch
from torch import Tensor

from lmhead.ops.head_products import HeadProducts
from lmhead.ops.logit_transform import LogitTransform
from lmhead.ops.problem import Problem, accumulation_dtype
from lmhead.ops.row_softmax import LEAST, RowGradient
from lmhead.ops.tiles import Tiles, slices
from lmhead.ops.weight_gradient import WeightGradient


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
    parameters = {"weight": problem.weight, "adapter_weight": problem.adapter_weight}
    gradients = {
        name: torch.zeros_like(parameter, memory_format=torch.contiguous_format)
        for name, parameter in parameters.items()
        if name in wanted and parameter is not None
    }
    if not kept:
        return gradients
    of_rows = _joined(kept)
    copied = rows is not None or problem.hidden.dtype != problem.compute_dtype
    n = of_rows.top.shape[0]
    tiles = Tiles.of(problem, n, most_rows=n, most_columns=problem.weight.shape[0], copied=copied)
    pieces = _Pieces(problem, of_rows)
    with tiles.buffers(problem, pieces.copies) as (buffer, spare):
        for tile in tiles.of_vocabulary():
            sums = {
                name: WeightGradient(d[tile], problem.compute_dtype, tiles.chunks, result=d[tile])
                for name, d in gradients.items()
            }
            for chunk in tiles.of_rows():
                states = products.rows(chunk if rows is None else rows[chunk])
                logits = buffer[: chunk.stop - chunk.start, : tile.stop - tile.start]
                products.logits(states, logits, tile)
                for piece in slices(logits.shape[0], tiles.piece_rows):
                    of_piece = slice(chunk.start + piece.start, chunk.start + piece.stop)
                    pieces.to_gradient(logits[piece], spare, of_piece, tile)
                for name, state in zip(parameters, states, strict=False):
                    if name in sums:
                        sums[name].add(logits, state)
    return gradients


class _Pieces:
    """Turns a few rows of a tile's products into their gradient, from what the rows' first pass left."""

    def __init__(self, problem: Problem, of_rows: RowGradient) -> None:
        self.of_rows = of_rows
        self.transform = LogitTransform(
            problem, (), differentiated=True
        )  # the bias and the scale have their gradients already
        self.widens = problem.compute_dtype != accumulation_dtype(problem.compute_dtype)
        self.copies = int(self.widens) + self.transform.copies + int(of_rows.slope is not None)

    def to_gradient(self, products: Tensor, buffers: list[Tensor], rows: slice, tile: slice) -> None:
        """In place, for the `tile`'s products [R, width] of the `rows`."""
        R, width = products.shape
        spare = [buffer[:R, :width] for buffer in buffers]
        x = spare.pop().copy_(products) if self.widens else products
        kept = self.transform.forward(x, spare, tile)
        of_rows = self.of_rows
        x.sub_(of_rows.top[rows])
        if of_rows.slope is None:
            x.exp_().mul_(of_rows.factor[rows])
        else:
            exponential = torch.exp(x.clamp_(min=LEAST), out=spare.pop())
            x.mul_(of_rows.slope[rows]).add_(of_rows.factor[rows]).mul_(exponential)
        if of_rows.share is not None:
            x.sub_(of_rows.share[rows])
        targets = of_rows.targets[rows]
        row, k = ((targets >= tile.start) & (targets < tile.stop)).nonzero(as_tuple=True)
        x[row, targets[row, k] - tile.start] = of_rows.at_target[rows][row, k]
        self.transform.backward(x, kept, tile)
        if x is not products:
            products.copy_(x)


def _joined(kept: Sequence[RowGradient]) -> RowGradient:
    """One RowGradient of all chunks' rows."""

    def joined(name: str) -> Tensor | None:
        parts = [getattr(part, name) for part in kept]
        return None if parts[0] is None else torch.cat(parts)

    return RowGradient(**{field.name: joined(field.name) for field in fields(RowGradient)})  # type: ignore[arg-type]
