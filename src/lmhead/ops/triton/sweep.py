"""One pass over the scored rows, chunk by chunk of whole rows; or by the vocabulary, where memory is short or cut."""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager

from torch import Tensor

from lmhead.ops.problem import Problem
from lmhead.ops.products.head_products import HeadGradients, HeadProducts
from lmhead.ops.products.tiles import slices
from lmhead.ops.products.workspace import buffer, padded_columns
from lmhead.ops.row_terms import RowCoefficients, solved_zeros
from lmhead.ops.sweep_result import SweepResult
from lmhead.ops.triton.by_shard import sweep_shard
from lmhead.ops.triton.by_vocabulary import sweep_by_vocabulary
from lmhead.ops.triton.forms import Form
from lmhead.ops.triton.gpu_plan import GpuPlan
from lmhead.ops.triton.launch import RowKernels
from lmhead.ops.triton.scored_rows import ScoredRows


def sweep(
    problem: Problem, coefficients: RowCoefficients | None, wanted: Collection[str], *, form: Form
) -> SweepResult:
    """Outputs of every row, and the gradients of their sum, each times its coefficient.

    Args:
        coefficients: float32; None where no gradient is wanted.
        wanted: names in DIFFERENTIABLE.

    Raises:
        ArgumentError: a target is neither in [0, V) nor ignore_index, where something may be waited for.
    """
    rows = ScoredRows.of(problem, masked=form.masked)
    out = solved_zeros(problem)
    kernels = RowKernels(problem, rows.index, coefficients, wanted, out)
    plan = GpuPlan.of(problem, rows.n, wanted, rounding=form.rounding)
    if problem.shard.group:
        return SweepResult(solved=out, gradients=sweep_shard(problem, rows, kernels, wanted))
    if form.by_vocabulary or plan.starved:
        return SweepResult(solved=out, gradients=sweep_by_vocabulary(problem, rows, kernels, wanted))
    return SweepResult(
        solved=out, gradients=_sweep_by_row(problem, rows, kernels, plan, wanted, rounding=form.rounding)
    )


def _sweep_by_row(
    problem: Problem,
    rows: ScoredRows,
    kernels: RowKernels,
    plan: GpuPlan,
    wanted: Collection[str],
    *,
    rounding: bool,
) -> dict[str, Tensor]:
    """The wanted gradients; the outputs are written on the way."""
    products = HeadProducts(problem)
    with ExitStack() as stack:
        gradients = HeadGradients(products, wanted, rows.n, plan.chunks, stack, rounding=rounding)
        logits_buffer = stack.enter_context(_logits(problem, plan, gradients))
        for chunk in slices(rows.n, plan.chunk_rows):
            picked = rows.picked(chunk)
            states = rows.without_ignored(products.rows(picked), chunk)
            logits = logits_buffer[: chunk.stop - chunk.start]
            products.logits(states, logits)
            kernels.whole_rows(logits, chunk.start)
            gradients.add(logits, states, picked)
    return gradients.result() | kernels.transform.gradients(problem)


@contextmanager
def _logits(problem: Problem, plan: GpuPlan, gradients: HeadGradients) -> Iterator[Tensor]:
    """A chunk's logits [chunk_rows, V], in rows whose padding may be written."""
    V, dtype = problem.weight.shape[0], problem.compute_dtype
    if not plan.in_gradient:
        with buffer("logits", (plan.chunk_rows, V), dtype, problem.hidden.device) as logits:
            yield logits
        return
    idle, stride = gradients.of_weights["weight"].idle_result, padded_columns(V, dtype)
    assert idle is not None, "GpuPlan knows when the weight's gradient lends its memory"
    yield idle.view(-1)[: plan.chunk_rows * stride].view(plan.chunk_rows, stride)[:, :V]
