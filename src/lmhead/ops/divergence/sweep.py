"""The divergence of each row and its gradients, chunk by chunk: the algorithm, without its autograd (ops/autograd.py).

    rows that are ignored are dropped, before anything is multiplied
    for each chunk of rows:
        student = hidden @ weight.T                      two buffers, reused, the only things of width V
        teacher = teacher_hidden @ teacher_weight.T
        for each block of rows in the chunk:             rows.py; in float32, in the second-level cache
            the divergence of each row; its gradient overwrites the student's logits
        d_hidden        = gradient @ weight
        d_weight       += gradient.T @ hidden            float32 across chunks

The teacher's tensors come detached. Of two heads that are cut over ranks each rank has its columns of both, and the
ranks join what they find of a chunk's rows: row_parts.py.
"""

import math
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from lmhead.errors import require
from lmhead.ops.divergence.problem import DivergenceProblem
from lmhead.ops.divergence.row_parts import SharedRowDivergence
from lmhead.ops.divergence.rows import RowDivergence
from lmhead.ops.problem import Problem, Solved
from lmhead.ops.products.head_products import HeadGradients, HeadProducts
from lmhead.ops.products.plan import Plan
from lmhead.ops.products.tiles import slices
from lmhead.ops.products.workspace import buffer, padded_columns
from lmhead.ops.row_terms import RowCoefficients
from lmhead.ops.sharded import collectives
from lmhead.ops.sweep_result import SweepResult

_BLOCK_SHARE = 4  # a block has this many operands where the cross entropy's has one: of so much fewer rows


def sweep(problem: DivergenceProblem, coefficients: RowCoefficients | None, wanted: Collection[str]) -> SweepResult:
    """The divergence of each row [N, 1], 0 of those that are ignored, and the wanted gradients of their weighted sum.

    Args:
        coefficients: of the divergences [N, 1]; None where no gradient is wanted.
        wanted: names in DIFFERENTIABLE, of the student's.
    """
    student, scored = problem.student, problem.scored[:, 0]
    rows = None if bool(scored.all()) else scored.nonzero()[:, 0]
    n = scored.numel() if rows is None else rows.numel()
    divergence = student.hidden.new_zeros(scored.numel(), 1, dtype=problem.dtype)
    of_teacher = problem.teacher
    blocks = (SharedRowDivergence if student.shard.group else RowDivergence)(problem, of_teacher, wanted)
    plan = _plan(problem, of_teacher, n, blocks.copies)
    with ExitStack() as stack, _buffers(problem, of_teacher, plan) as (student_buffer, teacher_buffer, block_buffer):
        products, teacher = HeadProducts(student), HeadProducts(of_teacher)
        gradients = HeadGradients(products, wanted, n, plan.chunks, stack)
        for chunk in slices(n, plan.chunk_rows):
            picked = chunk if rows is None else rows[chunk]
            states, logits = products.rows(picked), student_buffer[: chunk.stop - chunk.start]
            products.logits(states, logits)
            teacher_logits = teacher_buffer[: chunk.stop - chunk.start]
            teacher.logits(teacher.rows(picked), teacher_logits)
            factor = None
            if wanted and coefficients is not None:
                factor = coefficients.of(picked, student.logit_scale, problem.dtype).loss
            divergence[picked] = blocks.run(logits, teacher_logits, factor, block_buffer)[:, None]
            if wanted:
                gradients.add(logits, states, picked)
    blocks.finish(divergence)
    return SweepResult(
        solved=Solved(loss=divergence, rows={}),
        gradients=gradients.result() | blocks.of_student.gradients(student),
    )


def _plan(problem: DivergenceProblem, teacher: Problem, n: int, copies: int) -> Plan:
    """The student's plan within its part of the budget; what the teacher needs for as many rows is the rest."""
    of_student, of_teacher = (_row_bytes(model) for model in (problem.student, teacher))
    part = problem.student.memory_budget * of_student // (of_student + of_teacher)
    plan = Plan.of(replace(problem.student, memory_budget=max(part, 1)), n, copies=copies)
    if problem.student.shard.group:
        plan = _agreed(plan, n, problem.student)
    return replace(plan, block_rows=max(1, plan.block_rows // _BLOCK_SHARE // 2 * 2))


def _agreed(plan: Plan, n: int, student: Problem) -> Plan:
    """With as many chunks as the rank that needs most: ranks join what they find chunk by chunk.

    Raises:
        ArgumentError: on all ranks, where they score other rows.
    """
    said = torch.tensor([plan.chunks, n, -n], device=student.hidden.device)
    collectives.maximum(said, student.shard.group)
    chunks, most, least = said.tolist()
    require(
        most == -least,
        "token_weight",
        "leave the same rows on all ranks that share a head",
        f"{-least} rows on one, {most} on another",
        "gather the group's hidden states and weights before, and give every rank all of them",
    )
    chunk_rows = math.ceil(n / chunks) if chunks else plan.chunk_rows
    return replace(plan, chunks=chunks, chunk_rows=chunk_rows, block_rows=min(plan.block_rows, chunk_rows))


def _row_bytes(model: Problem) -> int:
    """Of a row's logits, and of its hidden state gathered or cast."""
    V, D = model.weight.shape
    return (padded_columns(V, model.compute_dtype) + D) * model.compute_dtype.itemsize


@contextmanager
def _buffers(problem: DivergenceProblem, teacher: Problem, plan: Plan) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(student's logits, teacher's logits, block); the first two are halves of one where they can be.

    The workspace then keeps no more for the next call than it does for the cross entropy.
    """
    device, rows, V = problem.student.hidden.device, plan.chunk_rows, problem.student.weight.shape[0]
    narrow, of_teacher = problem.student.compute_dtype, teacher.compute_dtype
    blocks = plan.block_rows * plan.block_copies
    with buffer("block", (blocks, V), problem.dtype, device) as block:
        if narrow == of_teacher:
            with buffer("logits", (2 * rows, V), narrow, device) as both:
                yield both[:rows], both[rows:], block
        else:
            with (
                buffer("logits", (rows, V), narrow, device) as student,
                buffer("logits", (rows, V), of_teacher, device) as others,
            ):
                yield student, others, block
