"""Plain torch on any device, in bounded memory: the algorithm, without its autograd (autograd.py).

    rows that are ignored are dropped, before anything is multiplied
    for each chunk of rows:                              some hundred rows: wide enough for full-rate products
        logits = hidden @ weight.T                       head_products.py; one buffer, reused, the only thing of width V
        for each block of rows in the chunk:             row_softmax.py; a few rows, float32, in the second-level cache
            statistics and loss of each row; the gradient overwrites the logits
        d_hidden        = gradient @ weight
        d_weight       += gradient.T @ hidden            float32 across chunks

Where no gradient is wanted: vocabulary_scan.py. Where memory is short, or the head is cut over ranks:
vocabulary_major.py.
Gradients are made in the forward for coefficients that are known there: 6NDV flops, no second product of the logits.
The block is why a bf16 step costs little more than its products (benchmarks/README.md, "the op").
"""

from collections.abc import Collection, Iterator
from contextlib import ExitStack

from torch import Tensor

from lmhead.ops.checks import require_targets_in_range
from lmhead.ops.chunked import vocabulary_scan
from lmhead.ops.chunked.row_softmax import RowSoftmax
from lmhead.ops.chunked.vocabulary_major import gradients_by_tile
from lmhead.ops.problem import Problem, Solved
from lmhead.ops.products.head_products import HeadGradients, HeadProducts
from lmhead.ops.products.logit_transform import LogitTransform
from lmhead.ops.products.plan import Plan
from lmhead.ops.products.tiles import slices
from lmhead.ops.products.workspace import buffer
from lmhead.ops.row_terms import RowCoefficients, RowTerms, put, solved_zeros
from lmhead.ops.sweep_result import SweepResult


def sweep(
    problem: Problem,
    coefficients: RowCoefficients | None,
    wanted: Collection[str],
    *,
    by_vocabulary: bool | None = None,
) -> SweepResult:
    """Outputs of every row, and the gradients of their sum, each times its coefficient.

    Args:
        coefficients: float32 or wider; None where no gradient is wanted.
        wanted: names in DIFFERENTIABLE.
        by_vocabulary: make the gradients in a second pass, tile by tile of the vocabulary, from new logits: a third
            more arithmetic, no float32 accumulator of the weight's size, no chunk as wide as the vocabulary. None:
            where the memory budget leaves chunks of so few rows that it is faster, or the head is cut over ranks.

    Raises:
        ArgumentError: a target is neither in [0, V) nor ignore_index.
    """
    rows = _scored_rows(problem)
    n = problem.hidden.shape[0] if rows is None else rows.numel()
    out = solved_zeros(problem)
    products = HeadProducts(problem)
    if coefficients is not None and wanted and not by_vocabulary and not problem.shard.group:
        chunks = _Chunks(problem, products, rows, n, coefficients, wanted)
        if by_vocabulary is False or not chunks.plan.starved:
            return SweepResult(solved=out, gradients=_gradients_by_row(chunks, wanted, out))
    of_chunks = []
    forward = vocabulary_scan.scan if vocabulary_scan.runs(problem) else _whole_rows
    for picked, columns in forward(problem, products, rows, n, coefficients):
        put(out, picked, columns)
        if wanted:
            of_chunks.append(columns)
    gradients = gradients_by_tile(problem, products, wanted, rows, of_chunks) if wanted else {}
    return SweepResult(solved=out, gradients=gradients)


def _gradients_by_row(chunks: "_Chunks", wanted: Collection[str], out: Solved) -> dict[str, Tensor]:
    """The wanted gradients, chunk by chunk of whole rows; `out` is filled on the way."""
    with ExitStack() as stack:
        gradients = HeadGradients(chunks.products, wanted, chunks.n, chunks.plan.chunks, stack)
        for picked, columns, states, logits in chunks:
            put(out, picked, columns)
            gradients.add(logits, states, picked)
    return gradients.result() | chunks.transform.gradients(chunks.problem)


def _whole_rows(
    problem: Problem, products: HeadProducts, rows: Tensor | None, n: int, coefficients: RowCoefficients | None
) -> Iterator[tuple[slice | Tensor, RowTerms]]:
    """The forward where a scan does not do: which rows, and their columns."""
    for picked, columns, _, _ in _Chunks(problem, products, rows, n, coefficients, ()):
        yield picked, columns


class _Chunks:
    """Passes over chunks of whole rows; each leaves (which rows, their columns, states, products or their gradient)."""

    def __init__(
        self,
        problem: Problem,
        products: HeadProducts,
        rows: Tensor | None,
        n: int,
        coefficients: RowCoefficients | None,
        wanted: Collection[str],
    ) -> None:
        self.problem, self.products, self.rows, self.n = problem, products, rows, n
        self.coefficients, self.differentiated = coefficients, bool(wanted)
        self.transform = LogitTransform(problem, wanted, differentiated=self.differentiated)
        self.plan = Plan.of(problem, n, copies=RowSoftmax.copies(problem, self.transform, coefficients))

    def __iter__(self) -> Iterator[tuple[slice | Tensor, RowTerms, list[Tensor], Tensor]]:
        problem, plan = self.problem, self.plan
        V, narrow, wide = problem.weight.shape[0], problem.compute_dtype, problem.dtype
        with (
            buffer("logits", (plan.chunk_rows, V), narrow, problem.hidden.device) as logits_buffer,
            buffer("block", (plan.block_rows * plan.block_copies, V), wide, problem.hidden.device) as block_buffer,
        ):
            for chunk in slices(self.n, plan.chunk_rows):
                picked = chunk if self.rows is None else self.rows[chunk]
                states, logits = self.products.rows(picked), logits_buffer[: chunk.stop - chunk.start]
                self.products.logits(states, logits)
                given = self.coefficients
                of_rows = None if given is None else given.of(picked, problem.logit_scale, wide)
                columns = RowTerms(problem, problem.targets[picked], of_rows)
                RowSoftmax(problem, self.transform, columns, differentiated=self.differentiated).run(
                    logits, block_buffer, plan
                )
                yield picked, columns, states, logits


def _scored_rows(problem: Problem) -> Tensor | None:
    """Indices [n] of the rows with a target that is scored, None where all have one."""
    scored = problem.scored.any(1)
    if not problem.shard.group:  # else once the ranks have met (sharded/join.py): what one refuses all do
        require_targets_in_range(problem.targets, problem.vocab_size, problem.ignore_index)
    return None if bool(scored.all()) else scored.nonzero()[:, 0]
