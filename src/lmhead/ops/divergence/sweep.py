"""The divergence as two custom ops: chunk by chunk, one node to autograd, torch.compile, autocast and checkpointing.

    lmhead::divergence             the divergence and (where wanted) the gradients for coefficients known in the forward
    lmhead::divergence_gradients   the gradients alone, for coefficients that come later

    rows that are ignored are dropped, before anything is multiplied
    for each chunk of rows:
        student = hidden @ weight.T                      two buffers, reused, the only things of width V
        teacher = teacher_hidden @ teacher_weight.T
        for each block of rows in the chunk:             rows.py; in float32, in the second-level cache
            the divergence of each row; its gradient overwrites the student's logits
        d_hidden        = gradient @ weight
        d_weight       += gradient.T @ hidden            float32 across chunks

The contract is that of ops/autograd.py: the first backward takes the gradients that the forward made
(gradient_handover.py); a second one, or one of a divergence for each row, makes them (again). The teacher's tensors
come detached.
"""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from lmhead.ops.divergence.problem import DivergenceProblem
from lmhead.ops.divergence.rows import RowDivergence
from lmhead.ops.gradient_handover import (
    boost,
    fake_gradients,
    handed_over,
    names_of,
    no_second_derivative,
    or_empty,
    trained,
)
from lmhead.ops.head_products import HeadGradients, HeadProducts
from lmhead.ops.plan import Plan
from lmhead.ops.problem import DIFFERENTIABLE, Problem, accumulation_dtype
from lmhead.ops.tensor_values import is_transformed
from lmhead.ops.transforms import transformable, transforms_at_work
from lmhead.ops.workspace import buffer, padded_columns

_STUDENT = ("hidden", "weight", "targets", "bias", "adapter_hidden", "adapter_weight", "column_scale")
_TEACHER = ("hidden", "weight", "bias")
_OPTIONS = ("softcap", "logit_scale", "compute_dtype")
_TENSORS = len(_STUDENT) + len(_TEACHER)
_NO_GRADIENTS = (None,) * (len(_TEACHER) + 11)  # of what follows the student's tensors among the op's inputs
_BLOCK_SHARE = 4  # a block has this many operands where the cross entropy's has one: of so much fewer rows


def run(problem: DivergenceProblem, coefficient: Tensor | None) -> Tensor:
    """The sum of coefficient [N] * divergence, or each divergence [N] where it is None."""
    student, teacher = problem.student, problem.teacher
    transformed = transforms_at_work("linear_divergence", student)
    boosted = None if coefficient is None else boost(coefficient, student)
    if coefficient is not None and boosted is not None:
        coefficient = coefficient * boosted
    tensors = [getattr(student, name) for name in _STUDENT] + [getattr(teacher, name) for name in _TEACHER]
    options = [getattr(model, name) for model in (student, teacher) for name in _OPTIONS]
    differentiable = torch.is_grad_enabled() and coefficient is not None and not transformed
    wanted = [differentiable and needed for needed in trained(student)]
    of_both = (problem.kind, problem.beta, student.memory_budget)
    op = _transformable if transformed else _divergence
    divergence: Tensor = op(*tensors, coefficient, *options, *of_both, wanted)[0]
    return divergence if boosted is None else divergence / boosted


@torch.library.custom_op("lmhead::divergence", mutates_args=())
def _divergence(
    hidden: Tensor,  # [N, D]
    weight: Tensor,  # [V, D]
    targets: Tensor,  # [N, 1]: which rows are ignored
    bias: Tensor | None,  # [V]
    adapter_hidden: Tensor | None,  # [N, R]
    adapter_weight: Tensor | None,  # [V, R]
    column_scale: Tensor | None,  # [V]
    teacher_hidden: Tensor,  # [N, D']
    teacher_weight: Tensor,  # [V, D']
    teacher_bias: Tensor | None,  # [V]
    coefficient: Tensor | None,  # [N]
    softcap: float | None,
    logit_scale: float,
    compute_dtype: torch.dtype,
    teacher_softcap: float | None,
    teacher_logit_scale: float,
    teacher_compute_dtype: torch.dtype,
    kind: str,
    beta: float,
    memory_budget: int,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(divergence: [N], or with a coefficient its sum; a gradient for each of DIFFERENTIABLE, empty if not wanted)."""
    problem = _problem(
        (hidden, weight, targets, bias, adapter_hidden, adapter_weight, column_scale),
        (teacher_hidden, teacher_weight, teacher_bias),
        (softcap, logit_scale, compute_dtype, teacher_softcap, teacher_logit_scale, teacher_compute_dtype),
        (kind, beta, memory_budget),
    )
    divergence, gradients = _sweep(problem, coefficient, names_of(wanted))
    if coefficient is not None:
        divergence = torch.where(problem.scored, divergence * coefficient.to(divergence.dtype), 0.0).sum()
    return divergence, *or_empty(gradients, hidden)  # type: ignore[return-value]  # six, which mypy does not count


def _problem(
    student: tuple[Tensor | None, ...],
    teacher: tuple[Tensor | None, ...],
    of_models: tuple[object, ...],
    of_both: tuple[str, float, int],
) -> DivergenceProblem:
    kind, beta, memory_budget = of_both
    named = dict(zip(_STUDENT + _OPTIONS, student + of_models[:3], strict=True))
    others = dict(zip(_TEACHER + _OPTIONS, teacher + of_models[3:], strict=True))
    return DivergenceProblem(
        student=Problem(**named, memory_budget=memory_budget),  # type: ignore[arg-type]
        teacher=Problem(**others, targets=student[2], memory_budget=memory_budget),  # type: ignore[arg-type]
        kind=kind,  # type: ignore[arg-type]
        beta=beta,
    )


def _sweep(
    problem: DivergenceProblem, coefficient: Tensor | None, wanted: Collection[str]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The divergence of each row [N], 0 of those that are ignored, and the wanted gradients of their weighted sum."""
    student, scored = problem.student, problem.scored
    rows = None if bool(scored.all()) else scored.nonzero()[:, 0]
    n = scored.numel() if rows is None else rows.numel()
    divergence = student.hidden.new_zeros(scored.numel(), dtype=problem.dtype)
    blocks = RowDivergence(problem, wanted)
    plan = _plan(problem, n, blocks.copies)
    with ExitStack() as stack, _buffers(problem, plan) as (student_buffer, teacher_buffer, block_buffer):
        products, teacher = HeadProducts(student), HeadProducts(problem.teacher)
        gradients = HeadGradients(products, wanted, n, plan.chunks, stack)
        for start in range(0, n, plan.chunk_rows):
            stop = min(start + plan.chunk_rows, n)
            picked = slice(start, stop) if rows is None else rows[start:stop]
            states, logits = products.rows(picked), student_buffer[: stop - start]
            products.logits(states, logits)
            teacher_logits = teacher_buffer[: stop - start]
            teacher.logits(teacher.rows(picked), teacher_logits)
            factor = None
            if wanted and coefficient is not None:
                factor = coefficient[picked].to(problem.dtype)[:, None] * student.logit_scale
            divergence[picked] = blocks.run(logits, teacher_logits, factor, block_buffer)
            if wanted:
                gradients.add(logits, states, picked)
    return divergence, gradients.result() | blocks.of_student.gradients(student)


def _plan(problem: DivergenceProblem, n: int, copies: int) -> Plan:
    """The student's plan within its part of the budget; what the teacher needs for as many rows is the rest."""
    of_student, of_teacher = (_row_bytes(model) for model in (problem.student, problem.teacher))
    part = problem.student.memory_budget * of_student // (of_student + of_teacher)
    plan = Plan.of(replace(problem.student, memory_budget=max(part, 1)), n, copies=copies)
    return replace(plan, block_rows=max(1, plan.block_rows // _BLOCK_SHARE // 2 * 2))


def _row_bytes(model: Problem) -> int:
    """Of a row's logits, and of its hidden state gathered or cast."""
    V, D = model.weight.shape
    return (padded_columns(V, model.compute_dtype) + D) * model.compute_dtype.itemsize


@contextmanager
def _buffers(problem: DivergenceProblem, plan: Plan) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(student's logits, teacher's logits, block); the first two are halves of one where they can be.

    The workspace then keeps no more for the next call than it does for the cross entropy.
    """
    device, rows, V = problem.student.hidden.device, plan.chunk_rows, problem.student.weight.shape[0]
    narrow, of_teacher = problem.student.compute_dtype, problem.teacher.compute_dtype
    blocks = plan.block_rows * plan.block_copies
    with buffer("block", (blocks, V), problem.dtype, device) as block:
        if narrow == of_teacher:
            with buffer("logits", (2 * rows, V), narrow, device) as both:
                yield both[:rows], both[rows:], block
        else:
            with (
                buffer("logits", (rows, V), narrow, device) as student,
                buffer("logits", (rows, V), of_teacher, device) as teacher,
            ):
                yield student, teacher, block


@_divergence.register_fake
def _(hidden, weight, targets, *others) -> tuple[Tensor, ...]:  # type: ignore[no-untyped-def]
    coefficient, compute_dtype = others[_TENSORS - 3], others[_TENSORS]
    shape = (hidden.shape[0],) if coefficient is None else ()
    divergence = hidden.new_empty(shape, dtype=accumulation_dtype(compute_dtype))
    return divergence, *fake_gradients((hidden, weight, *others[:4]), others[-1])


def _setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    *ctx.options, ctx.wanted = inputs[_TENSORS + 1 :]
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[: _TENSORS + 1])
    _, *gradients = output
    ctx.mark_non_differentiable(*gradients)
    ctx.gradients = gradients if any(ctx.wanted) else None


def _backward(ctx, grad_loss, *_):  # type: ignore[no-untyped-def]
    *tensors, coefficient = ctx.saved_tensors
    if grad_loss is None:
        return (None,) * len(_STUDENT) + _NO_GRADIENTS
    made = handed_over(ctx, grad_loss)
    if made is None:
        wanted = [ctx.needs_input_grad[_STUDENT.index(name)] for name in DIFFERENTIABLE]
        of_rows = grad_loss if coefficient is None else grad_loss * coefficient
        op = _transformable_gradients if is_transformed() else _divergence_gradients
        gradients = op(*tensors, of_rows, *ctx.options, wanted)
        made = {name: d for name, d, want in zip(DIFFERENTIABLE, gradients, wanted, strict=True) if want}
    return tuple(made.get(name) for name in _STUDENT) + _NO_GRADIENTS


_divergence.register_autograd(_backward, setup_context=_setup)
_transformable = transformable("linear_divergence", _divergence, _setup, _backward)


@torch.library.custom_op("lmhead::divergence_gradients", mutates_args=())
def _divergence_gradients(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None,
    adapter_hidden: Tensor | None,
    adapter_weight: Tensor | None,
    column_scale: Tensor | None,
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    teacher_bias: Tensor | None,
    of_rows: Tensor,  # [N]
    softcap: float | None,
    logit_scale: float,
    compute_dtype: torch.dtype,
    teacher_softcap: float | None,
    teacher_logit_scale: float,
    teacher_compute_dtype: torch.dtype,
    kind: str,
    beta: float,
    memory_budget: int,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """A gradient for each of DIFFERENTIABLE, of the sum of of_rows * divergence; empty if not wanted."""
    problem = _problem(
        (hidden, weight, targets, bias, adapter_hidden, adapter_weight, column_scale),
        (teacher_hidden, teacher_weight, teacher_bias),
        (softcap, logit_scale, compute_dtype, teacher_softcap, teacher_logit_scale, teacher_compute_dtype),
        (kind, beta, memory_budget),
    )
    _, gradients = _sweep(problem, of_rows, names_of(wanted))
    d = or_empty(gradients, hidden)
    return d[0], d[1], d[2], d[3], d[4], d[5]


@_divergence_gradients.register_fake
def _(hidden, weight, targets, *others) -> tuple[Tensor, ...]:  # type: ignore[no-untyped-def]
    return tuple(fake_gradients((hidden, weight, *others[:4]), others[-1]))


_refusal = no_second_derivative("linear_divergence")
_divergence_gradients.register_autograd(_refusal)
_transformable_gradients = transformable(
    "linear_divergence", _divergence_gradients, lambda ctx, inputs, output: None, _refusal
)
