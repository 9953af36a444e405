"""The order for when memory is short: tile by tile of the vocabulary, twice, and no chunk of logits is kept.

    for each tile:  logits = hidden @ weight[tile].T        rows_kernel joins it to each row's running softmax
    for each tile:  logits again; gradient_kernel           8NDV flops in all, not 6NDV
                    d_weight[tile] = gradient.T @ hidden    one product over all rows, where a tile of them fits
                    d_hidden      += gradient @ weight[tile]

The float32 accumulator is the hidden states' [n, D], not the weight's. Ranks need the row whole: a few rows at a time.
"""

from collections.abc import Collection

import torch
from torch import Tensor

from lmhead.ops.chunked.vocabulary_major import StateGradients
from lmhead.ops.problem import Problem
from lmhead.ops.products.head_products import HeadProducts
from lmhead.ops.products.tiles import Tiles
from lmhead.ops.products.weight_gradient import WeightGradient
from lmhead.ops.triton.launch import RowKernels, RowParameters, RowState
from lmhead.ops.triton.scored_rows import ScoredRows


def sweep_by_vocabulary(
    problem: Problem, rows: ScoredRows, kernels: RowKernels, wanted: Collection[str]
) -> dict[str, Tensor]:
    """The wanted gradients; the outputs are written on the way."""
    products = HeadProducts(problem)
    parameters = RowParameters.of(problem, rows.n) if wanted else None
    _read(problem, products, rows, kernels, parameters)
    if parameters is None:
        return {}
    return gradients_by_tile(problem, products, rows, kernels, wanted, parameters)


def _read(
    problem: Problem, products: HeadProducts, rows: ScoredRows, kernels: RowKernels, parameters: RowParameters | None
) -> None:
    """The forward: every row's outputs, and what its gradient is made of."""
    V = problem.weight.shape[0]
    tiles = tiles_of(problem, products, rows, whole="rank" in problem.outputs)
    with tiles.buffers(problem, 0) as (buffer, _):
        for chunk in tiles.of_rows():
            n = chunk.stop - chunk.start
            states = rows.without_ignored(products.rows(rows.picked(chunk)), chunk)
            state = None if tiles.columns == V else RowState.of(problem, n)
            for tile in tiles.of_vocabulary():
                logits = buffer[:n, : tile.stop - tile.start]
                products.logits(states, logits, tile)
                kernels.tile(logits, chunk.start, tile, state, None if parameters is None else parameters[chunk])


def gradients_by_tile(
    problem: Problem,
    products: HeadProducts,
    rows: ScoredRows,
    kernels: RowKernels,
    wanted: Collection[str],
    parameters: RowParameters,
) -> dict[str, Tensor]:
    """The wanted gradients, from what the rows' parameters say, and logits made again."""
    tiles = tiles_of(problem, products, rows, whole=False)
    d_weights = {
        name: torch.zeros_like(parameter, memory_format=torch.contiguous_format)
        for name, parameter in products.parameters.items()
        if name in wanted
    }
    d_states = StateGradients(problem, products, wanted, rows.n)
    with tiles.buffers(problem, 0) as (buffer, _):
        for tile in tiles.of_vocabulary() if rows.n else ():
            sums = {
                name: WeightGradient(d[tile], problem.compute_dtype, tiles.chunks, result=d[tile])
                for name, d in d_weights.items()
            }
            for chunk in tiles.of_rows():
                states = rows.without_ignored(products.rows(rows.picked(chunk)), chunk)
                logits = buffer[: chunk.stop - chunk.start, : tile.stop - tile.start]
                products.logits(states, logits, tile)
                kernels.to_gradient(logits, chunk.start, tile, parameters[chunk])
                for name, state in zip(products.parameters, states, strict=True):
                    if name in sums:
                        sums[name].add(logits, state)
                d_states.add(logits, tile, chunk)
    return d_weights | d_states.gradients(rows.index) | kernels.transform.gradients(problem)


def tiles_of(problem: Problem, products: HeadProducts, rows: ScoredRows, *, whole: bool) -> Tiles:
    """As large as the budget allows, rows first; or as few `whole` rows as it allows."""
    V = problem.weight.shape[0]
    copied = rows.scored is not None or products.copies(rows.index)
    if not whole:
        return Tiles.of(problem, rows.n, most_rows=rows.n, most_columns=V, copied=copied)
    fitting = max(1, problem.memory_budget // (2 * V * problem.compute_dtype.itemsize))
    return Tiles(rows=rows.n, vocab_size=V, columns=V, chunk_rows=max(1, min(fitting, rows.n)), piece_rows=1)
