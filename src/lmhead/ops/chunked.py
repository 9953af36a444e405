"""Plain torch on any device, in bounded memory: the algorithm, without its autograd (chunked_autograd.py).

    rows that are ignored are dropped, before anything is multiplied
    for each chunk of rows:                              some hundred rows: wide enough for full-rate products
        logits = hidden @ weight.T                       head_products.py; one buffer, reused, the only thing of width V
        for each block of rows in the chunk:             row_softmax.py; a few rows, float32, in the second-level cache
            statistics and loss of each row; the gradient overwrites the logits
        d_hidden        = gradient @ weight
        d_weight       += gradient.T @ hidden            float32 across chunks; or apart: vocabulary_major.py

Where no gradient is wanted: vocabulary_scan.py.
Gradients are made in the forward for coefficients that are known there: 6NDV flops, no second product of the logits.
The block is why a bf16 step costs little more than its products (benchmarks/README.md, "the op").
"""

from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass

from torch import Tensor

from lmhead.ops import vocabulary_scan
from lmhead.ops.checks import require_targets_in_range
from lmhead.ops.head_products import HeadProducts
from lmhead.ops.logit_transform import LogitTransform
from lmhead.ops.plan import Plan
from lmhead.ops.problem import Problem, accumulation_dtype
from lmhead.ops.row_softmax import RowCoefficients, RowGradient, RowOutputs, RowSoftmax
from lmhead.ops.vocabulary_major import weight_gradients
from lmhead.ops.workspace import buffer

_OF_WEIGHTS = ("weight", "adapter_weight")


def refusal(problem: Problem) -> str | None:
    """None: it runs every option on every device that torch has."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What one pass over the rows leaves. Rows that are ignored hold 0."""

    rows: RowOutputs
    gradients: dict[str, Tensor]  # of the wanted, by name, in their tensors' dtypes


def sweep(
    problem: Problem, coefficients: RowCoefficients | None, wanted: Collection[str], *, by_vocabulary: bool = False
) -> Swept:
    """Outputs of every row, and the gradients of their sum, each times its coefficient.

    Args:
        coefficients: float32 or wider; None where no gradient is wanted.
        wanted: names in DIFFERENTIABLE.
        by_vocabulary: make the weights' gradients in a second pass, tile by tile of the vocabulary, from new logits:
            a third more arithmetic, and no float32 accumulator.

    Raises:
        ArgumentError: a target is neither in [0, V) nor ignore_index.
    """
    wanted = frozenset(wanted if coefficients is not None else ())
    apart = wanted & set(_OF_WEIGHTS) if by_vocabulary else frozenset()
    V = problem.weight.shape[0]
    wide, device = accumulation_dtype(problem.compute_dtype), problem.hidden.device
    rows = _scored_rows(problem)
    n = problem.hidden.shape[0] if rows is None else rows.numel()
    out = RowOutputs.zeros(problem)
    if not wanted and vocabulary_scan.runs(problem):
        return Swept(rows=vocabulary_scan.scan(problem, rows, n, out), gradients={})
    transform = LogitTransform(problem, wanted, differentiated=bool(wanted))
    differentiated = coefficients if wanted else None
    plan = Plan.of(problem, n, copies=RowSoftmax.copies(problem, transform, differentiated))
    kept: list[RowGradient] = []
    with (
        ExitStack() as stack,
        buffer("logits", (plan.chunk_rows, V), problem.compute_dtype, device) as logits_buffer,
        buffer("block", (plan.block_rows * plan.block_copies, V), wide, device) as block_buffer,
    ):
        products = HeadProducts(problem, wanted - apart, n, plan.chunks, stack)
        for start in range(0, n, plan.chunk_rows):
            stop = min(start + plan.chunk_rows, n)
            picked = slice(start, stop) if rows is None else rows[start:stop]
            states, logits = products.rows(picked), logits_buffer[: stop - start]
            products.logits(states, logits)
            chunk = RowSoftmax(
                problem,
                transform,
                logits,
                problem.targets[picked],
                None if differentiated is None else differentiated.of(picked, problem.logit_scale, wide),
                keeps_gradient=bool(apart),
            )
            out.put(picked, chunk.run(block_buffer, plan), chunk.scored)
            if wanted:
                products.backward(logits, states, picked)
            if apart:
                kept.append(chunk.gradient())
    gradients = products.gradients() | transform.gradients(problem)
    if apart:
        gradients |= weight_gradients(problem, apart, products, rows, kept)
    return Swept(rows=out, gradients=gradients)


def _scored_rows(problem: Problem) -> Tensor | None:
    """Indices [n] of the rows with a target that is scored, None where all have one."""
    scored = (problem.targets != problem.ignore_index).any(1)
    require_targets_in_range(problem.targets, problem.weight.shape[0], problem.ignore_index)
    return None if bool(scored.all()) else scored.nonzero()[:, 0]
