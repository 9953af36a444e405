"""The order for a vocabulary-parallel head: every rank reads its own columns, and the ranks join what each has found.

    for each chunk of rows, each tile of the rank's columns:  rows_kernel joins it to each row's running softmax
    all-reduce MAX, all-reduce SUM                            joined_state.py: the states are the whole rows' now
    where ranks are wanted:  the tiles again; count_kernel    2NDV flops more, and an all-reduce SUM of the counts
    rows_kernel on no columns                                 outputs, and what the gradient is made of
    for each tile:  logits again; gradient_kernel             by_vocabulary.py, as of a head that is whole

Nothing else depends on the other ranks: the weight's gradient is the rank's own, the hidden states' its part of a sum.
Ranks may cut rows and tiles as their memory asks for: what is joined has the n rows whole.
"""

from collections.abc import Collection, Iterator

from torch import Tensor

from lmhead.ops.problem import Problem
from lmhead.ops.products.head_products import HeadProducts
from lmhead.ops.triton.by_vocabulary import gradients_by_tile, tiles_of
from lmhead.ops.triton.joined_state import join, join_ranks, join_top
from lmhead.ops.triton.launch import RowKernels, RowParameters, RowState
from lmhead.ops.triton.scored_rows import ScoredRows


def sweep_shard(problem: Problem, rows: ScoredRows, kernels: RowKernels, wanted: Collection[str]) -> dict[str, Tensor]:
    """The wanted gradients; the outputs are written on the way."""
    products = HeadProducts(problem)
    parameters = RowParameters.of(problem, rows.n) if wanted else None
    state = RowState.of(problem, rows.n)
    for logits, chunk, tile in _tiles(problem, products, rows):
        kernels.tile(logits, chunk.start, tile, state[chunk], None)
    join(problem, rows, kernels, state)  # ranks meet, if only to see that none scores anything
    if rows.n:
        if "top_ids" in problem.outputs:
            join_top(problem, rows, kernels.out)
        if "rank" in problem.outputs:
            for logits, chunk, tile in _tiles(problem, products, rows):
                kernels.count(logits, chunk.start, tile, state[chunk])
            join_ranks(problem, kernels.out)
        kernels.finish(state, parameters)
    if parameters is None:
        return {}
    return gradients_by_tile(problem, products, rows, kernels, wanted, parameters)


def _tiles(problem: Problem, products: HeadProducts, rows: ScoredRows) -> Iterator[tuple[Tensor, slice, slice]]:
    """(products of a tile, its rows, its columns), all tiles of a chunk of rows after each other."""
    tiles = tiles_of(problem, products, rows, whole=False)
    with tiles.buffers(problem, 0) as (buffer, _):
        for chunk in tiles.of_rows():
            states = rows.without_ignored(products.rows(rows.picked(chunk)), chunk)
            for tile in tiles.of_vocabulary():
                logits = buffer[: chunk.stop - chunk.start, : tile.stop - tile.start]
                products.logits(states, logits, tile)
                yield logits, chunk, tile
