"""The algorithm as two custom ops, so that autograd, torch.compile, autocast and checkpointing see one node.

    lmhead::chunked             loss, statistics and (where wanted) the gradients for coefficients known in the forward
    lmhead::chunked_gradients   the gradients alone, for coefficients that come later

What they run is a sweep over the rows; SWEEPS names the ways there are.

The first backward takes the gradients that the forward made (gradient_handover.py). Per-row losses
(`coefficient=None`) have nothing made in the forward; their backward makes it, and then lse and entropy are
differentiable too.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor

from lmhead.ops import triton
from lmhead.ops.chunked import sweep as chunked
from lmhead.ops.gradient_handover import (
    boost,
    fake_gradients,
    handed_over,
    names_of,
    no_second_derivative,
    or_empty,
    trained,
)
from lmhead.ops.problem import DIFFERENTIABLE, Problem, Solved, accumulation_dtype
from lmhead.ops.row_terms import RowCoefficients
from lmhead.ops.sweep_result import SweepResult
from lmhead.ops.tensor_values import is_transformed
from lmhead.ops.transforms import transformable, transforms_at_work

_TENSORS = ("hidden", "weight", "targets", "bias", "adapter_hidden", "adapter_weight", "column_scale")
_OPTIONS = (
    "ignore_index",
    "label_smoothing",
    "z_loss",
    "softcap",
    "logit_scale",
    "compute_dtype",
    "memory_budget",
    "entropy",
    "hits",
    "ranks",
)
SWEEPS: Mapping[str, Callable[[Problem, RowCoefficients | None, Collection[str]], SweepResult]] = MappingProxyType(
    {
        "chunked": chunked.sweep,
        "row_major": partial(chunked.sweep, by_vocabulary=False),
        "vocabulary_major": partial(chunked.sweep, by_vocabulary=True),
        **{name: partial(triton.sweep, form=form) for name, form in triton.FORMS.items()},
    }
)
_GRADIENTS_AT = 6  # index of the gradients among the op's outputs


def run(problem: Problem, coefficient: Tensor | None, *, sweep: str) -> Solved:
    """The sum of coefficient [N, K] * loss, or each loss [N, K] where it is None, and the statistics.

    Args:
        sweep: a name in SWEEPS.
    """
    transformed = transforms_at_work("linear_cross_entropy", problem)
    boosted = None if coefficient is None else boost(coefficient, problem)
    if coefficient is not None and boosted is not None:
        coefficient = coefficient * boosted
    tensors = [getattr(problem, name) for name in _TENSORS]
    options = [getattr(problem, name) for name in _OPTIONS]
    differentiable = torch.is_grad_enabled() and coefficient is not None and not transformed
    wanted = [differentiable and needed for needed in trained(problem)]
    op = _transformable if transformed else _chunked
    loss, nll, lse, entropy, hit, rank, *_ = op(*tensors, coefficient, *options, sweep, wanted)
    return Solved(
        loss=loss if boosted is None else loss / boosted, nll=nll, lse=lse, entropy=entropy, hit=hit, rank=rank
    )


@torch.library.custom_op("lmhead::chunked", mutates_args=())
def _chunked(
    hidden: Tensor,  # [N, D]
    weight: Tensor,  # [V, D]
    targets: Tensor,  # [N, K]
    bias: Tensor | None,  # [V]
    adapter_hidden: Tensor | None,  # [N, R]
    adapter_weight: Tensor | None,  # [V, R]
    column_scale: Tensor | None,  # [V]
    coefficient: Tensor | None,  # [N, K]
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    softcap: float | None,
    logit_scale: float,
    compute_dtype: torch.dtype,
    memory_budget: int,
    entropy: bool,
    hits: bool,
    ranks: bool,
    sweep: str,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(loss, nll, lse, entropy, hit, rank: see Solved; a gradient for each of DIFFERENTIABLE); empty if not wanted."""
    options = (ignore_index, label_smoothing, z_loss, softcap, logit_scale, compute_dtype, memory_budget)
    problem = _problem(
        (hidden, weight, targets, bias, adapter_hidden, adapter_weight, column_scale),
        (*options, entropy, hits, ranks),
    )
    coefficients = None if coefficient is None else RowCoefficients(loss=coefficient)
    swept = SWEEPS[sweep](problem, coefficients, names_of(wanted))
    rows = swept.rows
    return (  # type: ignore[return-value]  # six gradients, which mypy does not count
        rows.loss if coefficient is None else _weighted_sum(rows.loss, coefficient, targets != ignore_index),
        rows.nll,
        rows.lse,
        rows.entropy,
        rows.hit,
        rows.rank,
        *or_empty(swept.gradients, hidden),
    )


def _problem(tensors: tuple[Tensor | None, ...], options: tuple[object, ...]) -> Problem:
    named = dict(zip(_TENSORS + _OPTIONS, tensors + options, strict=True))
    return Problem(**named)  # type: ignore[arg-type]


def _weighted_sum(loss: Tensor, coefficient: Tensor, scored: Tensor) -> Tensor:
    return torch.where(scored, loss * coefficient.to(loss.dtype), 0.0).sum()


@_chunked.register_fake
def _(  # type: ignore[no-untyped-def]
    hidden, weight, targets, bias, adapter_hidden, adapter_weight, column_scale, coefficient, *options
) -> tuple[Tensor, ...]:
    named = dict(zip(_OPTIONS, options, strict=False))
    N, K = targets.shape
    rows = torch.empty(N, dtype=accumulation_dtype(named["compute_dtype"]), device=hidden.device)
    return (
        rows.new_empty((N, K) if coefficient is None else ()),
        rows.new_empty(N, K),
        rows,
        rows.new_empty(N if named["entropy"] else 0),
        rows.new_empty(N if named["hits"] else 0, K, dtype=torch.bool),
        rows.new_empty(N if named["ranks"] else 0, K, dtype=torch.int64),
        *fake_gradients((hidden, weight, bias, adapter_hidden, adapter_weight, column_scale), options[-1]),
    )


def _setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    count = len(_TENSORS)
    *ctx.options, ctx.sweep, ctx.wanted = inputs[count + 1 :]
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[: count + 1])
    _, nll, lse, entropy, *others = output
    per_row, has_entropy = inputs[count] is None, ctx.options[_OPTIONS.index("entropy")]
    rest = [] if per_row and has_entropy else [entropy] if per_row else [lse, entropy]
    ctx.mark_non_differentiable(nll, *rest, *others)
    ctx.gradients = output[_GRADIENTS_AT:] if any(ctx.wanted) else None


def _backward(ctx, grad_loss, _nll, grad_lse, grad_entropy, *_):  # type: ignore[no-untyped-def]
    *tensors, coefficient = ctx.saved_tensors
    by_name = dict(zip(_TENSORS, tensors, strict=True))
    if grad_loss is None and grad_lse is None and grad_entropy is None:
        return (None,) * (len(_TENSORS) + len(_OPTIONS) + 3)
    made = None if coefficient is None else handed_over(ctx, grad_loss)
    if made is None:
        wanted = [ctx.needs_input_grad[_TENSORS.index(name)] for name in DIFFERENTIABLE]
        if grad_loss is None:
            lse_or_entropy = grad_entropy if grad_lse is None else grad_lse
            grad_loss = lse_or_entropy.new_zeros(by_name["targets"].shape)
        of_loss = grad_loss if coefficient is None else grad_loss * coefficient
        op = _transformable_gradients if is_transformed() else _chunked_gradients
        gradients = op(*tensors, of_loss, grad_lse, grad_entropy, *ctx.options, ctx.sweep, wanted)
        made = {name: d for name, d, want in zip(DIFFERENTIABLE, gradients, wanted, strict=True) if want}
    return (*(made.get(name) for name in _TENSORS), *(None,) * (len(_OPTIONS) + 3))


_chunked.register_autograd(_backward, setup_context=_setup)
_transformable = transformable("linear_cross_entropy", _chunked, _setup, _backward)


@torch.library.custom_op("lmhead::chunked_gradients", mutates_args=())
def _chunked_gradients(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None,
    adapter_hidden: Tensor | None,
    adapter_weight: Tensor | None,
    column_scale: Tensor | None,
    of_loss: Tensor,  # [N, K]
    of_lse: Tensor | None,  # [N]
    of_entropy: Tensor | None,  # [N]
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    softcap: float | None,
    logit_scale: float,
    compute_dtype: torch.dtype,
    memory_budget: int,
    entropy: bool,
    hits: bool,
    ranks: bool,
    sweep: str,
    wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """A gradient for each of DIFFERENTIABLE, of the outputs' sum, each times its coefficient; empty if not wanted."""
    options = (ignore_index, label_smoothing, z_loss, softcap, logit_scale, compute_dtype, memory_budget)
    problem = _problem(
        (hidden, weight, targets, bias, adapter_hidden, adapter_weight, column_scale),
        (*options, False, False, False),
    )
    coefficients = RowCoefficients(loss=of_loss, lse=of_lse, entropy=of_entropy)
    d = or_empty(SWEEPS[sweep](problem, coefficients, names_of(wanted)).gradients, hidden)
    return d[0], d[1], d[2], d[3], d[4], d[5]


@_chunked_gradients.register_fake
def _(  # type: ignore[no-untyped-def]
    hidden, weight, targets, bias, adapter_hidden, adapter_weight, column_scale, *options
) -> tuple[Tensor, ...]:
    return tuple(fake_gradients((hidden, weight, bias, adapter_hidden, adapter_weight, column_scale), options[-1]))


_refusal = no_second_derivative("linear_cross_entropy")
_chunked_gradients.register_autograd(_refusal)
_transformable_gradients = transformable(
    "linear_cross_entropy", _chunked_gradients, lambda ctx, inputs, output: None, _refusal
)
