"""Gradients tile by tile of the vocabulary: the order for when memory is short.

    the forward: what each row's gradient is made of      vocabulary_scan.py, or row_softmax.py
    for each tile of the vocabulary:                     as wide as the budget allows with all rows
        logits   = hidden @ weight[tile].T               a second time: 8NDV flops in all, not 6NDV
        gradient = exp(logits - top) * factor - ...      row_terms.RowGradient
        d_weight[tile] = gradient.T @ hidden             one product over all rows sums in float32 and rounds once
        d_hidden      += gradient @ weight[tile]         float32 across tiles

No chunk is as wide as the vocabulary, and nothing of the weight's size exists but its gradient: the float32 accumulator
is the hidden states' [n, D], not the weight's. Where not even a narrow tile of all rows fits the budget, the rows are
cut as well, and a tile's gradient is summed over them in float32.
"""

from collections.abc import Collection, Sequence
from dataclasses import fields

import torch
from torch import Tensor

from lmhead.ops.problem import Problem, accumulation_dtype
from lmhead.ops.products import mixed_product
from lmhead.ops.products.head_products import HeadProducts
from lmhead.ops.products.logit_transform import LogitTransform
from lmhead.ops.products.tiles import Tiles, slices
from lmhead.ops.products.weight_gradient import WeightGradient
from lmhead.ops.row_terms import LEAST, RowGradient, RowTerms


def gradients_by_tile(
    problem: Problem,
    products: HeadProducts,
    wanted: Collection[str],
    rows: Tensor | None,  # [n] indices, None for all
    of_chunks: Sequence[RowTerms],  # of the rows, in order
) -> dict[str, Tensor]:
    """Those of DIFFERENTIABLE that are wanted, by name."""
    n = sum(columns.top.shape[0] for columns in of_chunks)
    tiles = Tiles.of(problem, n, most_rows=n, most_columns=problem.weight.shape[0], copied=products.copies(rows))
    d_weights = {
        name: torch.zeros_like(parameter, memory_format=torch.contiguous_format)
        for name, parameter in products.parameters.items()
        if name in wanted
    }
    d_states = StateGradients(problem, products, wanted, n)
    transform = LogitTransform(problem, wanted, differentiated=True)
    pieces = _Pieces(problem, transform, of_chunks) if n else None
    with tiles.buffers(problem, pieces.copies if pieces else 0) as (buffer, spare):
        for tile in tiles.of_vocabulary() if n else ():
            sums = {
                name: WeightGradient(d[tile], problem.compute_dtype, tiles.chunks, result=d[tile])
                for name, d in d_weights.items()
            }
            for chunk in tiles.of_rows():
                states = products.rows(chunk if rows is None else rows[chunk])
                logits = buffer[: chunk.stop - chunk.start, : tile.stop - tile.start]
                products.logits(states, logits, tile)
                assert pieces is not None
                for piece in slices(logits.shape[0], tiles.piece_rows):
                    of_piece = slice(chunk.start + piece.start, chunk.start + piece.stop)
                    pieces.to_gradient(logits[piece], spare, of_piece, tile)
                for name, state in zip(products.parameters, states, strict=True):
                    if name in sums:
                        sums[name].add(logits, state)
                d_states.add(logits, tile, chunk)
    return d_weights | d_states.gradients(rows) | transform.gradients(problem)


class StateGradients:
    """d_hidden and d_adapter_hidden, those that are wanted: a float32 sum over tiles, in the scored rows' order."""

    def __init__(self, problem: Problem, products: HeadProducts, wanted: Collection[str], n: int) -> None:
        self.products = products
        self.budget = problem.memory_budget
        wide = accumulation_dtype(products.dtype)
        self.sums = {
            name: state.new_zeros(n, state.shape[1], dtype=wide)
            for name, state in products.states.items()
            if name in wanted
        }

    def add(self, gradient: Tensor, tile: slice, chunk: slice) -> None:
        """Add what a tile's gradient [n, width] of the products gives to a chunk's rows."""
        for name, weight in zip(self.products.states, self.products.weights, strict=True):
            if name not in self.sums:
                continue
            total = self.sums[name][chunk]
            if total.dtype == gradient.dtype:
                total.addmm_(gradient, weight[tile])
                continue
            if mixed_product.runs(gradient.dtype, total.device):
                mixed_product.add(total, gradient, weight[tile], first=False)
                continue
            for piece in slices(total.shape[0], self._rows_at_once(total)):  # a product cannot be added to float32
                total[piece].add_((gradient[piece] @ weight[tile]).to(total.dtype))

    def _rows_at_once(self, total: Tensor) -> int:
        """Whose products, in 16 bits and in float32, take an eighth of the memory budget."""
        return max(1, self.budget // 8 // (total.shape[1] * (total.element_size() + 2)))

    def gradients(self, rows: Tensor | None) -> dict[str, Tensor]:
        """In the states' dtypes and order; 0 where a row is not scored."""
        return {name: self._of_all(self.products.states[name], total, rows) for name, total in self.sums.items()}

    def _of_all(self, state: Tensor, total: Tensor, rows: Tensor | None) -> Tensor:
        if rows is None:
            return total.to(state.dtype)
        gradient = torch.zeros_like(state, memory_format=torch.contiguous_format)
        gradient[rows] = total.to(state.dtype)
        return gradient


class _Pieces:
    """Turns a few rows of a tile's products into their gradient, from what the forward left."""

    def __init__(self, problem: Problem, transform: LogitTransform, of_chunks: Sequence[RowTerms]) -> None:
        self.transform = transform
        self.top = torch.cat([columns.top for columns in of_chunks])
        self.targets = torch.cat([columns.targets for columns in of_chunks])
        self.of_rows = _joined([columns.gradient(slice(None)) for columns in of_chunks])
        self.widens = problem.compute_dtype != accumulation_dtype(problem.compute_dtype)
        self.copies = int(self.widens) + transform.copies + int(self.of_rows.slope is not None)

    def to_gradient(self, products: Tensor, buffers: list[Tensor], rows: slice, tile: slice) -> None:
        """In place, for the `tile`'s products [R, width] of the `rows`."""
        R, width = products.shape
        spare = [buffer[:R, :width] for buffer in buffers]
        x = spare.pop().copy_(products) if self.widens else products
        kept = self.transform.forward(x, spare, tile)
        x.sub_(self.top[rows])
        self._from_shifted(x, spare, rows)
        targets = self.targets[rows]
        row, k = ((targets >= tile.start) & (targets < tile.stop)).nonzero(as_tuple=True)
        x[row, targets[row, k] - tile.start] = self.of_rows.at_target[rows][row, k]
        self.transform.backward(x, kept, tile)
        if x is not products:
            products.copy_(x)

    def _from_shifted(self, x: Tensor, spare: list[Tensor], rows: slice) -> None:
        of_rows = self.of_rows
        if of_rows.slope is None:
            x.exp_().mul_(of_rows.factor[rows])
        else:
            exponential = torch.exp(x.clamp_(min=LEAST), out=spare.pop())
            x.mul_(of_rows.slope[rows]).add_(of_rows.factor[rows]).mul_(exponential)
        if of_rows.share is not None:
            x.sub_(of_rows.share[rows])


def _joined(parts: Sequence[RowGradient]) -> RowGradient:
    """One RowGradient of all chunks' rows."""

    def joined(name: str) -> Tensor | None:
        columns = [getattr(part, name) for part in parts]
        return None if columns[0] is None else torch.cat(columns)

    return RowGradient(**{field.name: joined(field.name) for field in fields(RowGradient)})  # type: ignore[arg-type]
