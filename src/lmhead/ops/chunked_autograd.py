"""The chunked algorithm as two custom ops, so that autograd, torch.compile, autocast and checkpointing see one node.

    lmhead::chunked             loss, statistics and (where wanted) the gradients for coefficients known in the forward
    lmhead::chunked_gradients   the gradients alone, for coefficients that come later

The first backward takes the gradients that the forward made, scales them in place and hands them over, so that no
second copy of a V x D gradient ever exists. A second backward through the same graph finds them gone and makes them
again. Per-row losses (`coefficient=None`) have nothing made in the forward; their backward makes it.
"""

import torch
from torch import Tensor

from lmhead.ops.chunked import Swept, Wanted, sweep
from lmhead.ops.problem import Problem, TokenStatistics, accumulation_dtype

_GRADIENTS_AT = 5  # index of d_hidden, d_weight, d_bias among the op's outputs


def run(problem: Problem, coefficient: Tensor | None) -> tuple[Tensor, TokenStatistics]:
    """(loss, statistics): the sum over rows of coefficient * loss, or each row's loss [N] where it is None."""
    differentiable = torch.is_grad_enabled() and coefficient is not None
    wanted = [
        differentiable and tensor is not None and tensor.requires_grad
        for tensor in (problem.hidden, problem.weight, problem.bias)
    ]
    loss, nll, lse, entropy, hit, *_ = _chunked(*_tensors(problem, coefficient), *_options(problem), *wanted)
    statistics = TokenStatistics(
        nll=nll, lse=lse, entropy=entropy, hit=hit, scored=problem.targets != problem.ignore_index
    )
    return loss, statistics


def _tensors(
    problem: Problem, coefficient: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    return problem.hidden, problem.weight, problem.targets, problem.bias, coefficient


def _options(problem: Problem) -> tuple[int, float, float, float | None, float, torch.dtype, int, bool]:
    return (
        problem.ignore_index,
        problem.label_smoothing,
        problem.z_loss,
        problem.softcap,
        problem.logit_scale,
        problem.compute_dtype,
        problem.memory_budget,
        problem.statistics,
    )


@torch.library.custom_op("lmhead::chunked", mutates_args=())
def _chunked(
    hidden: Tensor,  # [N, D]
    weight: Tensor,  # [V, D]
    targets: Tensor,  # [N]
    bias: Tensor | None,  # [V]
    coefficient: Tensor | None,  # [N]
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    softcap: float | None,
    logit_scale: float,
    compute_dtype: torch.dtype,
    memory_budget: int,
    statistics: bool,
    want_hidden: bool,
    want_weight: bool,
    want_bias: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(loss [] or [N], nll [N], lse [N], entropy, hit, d_hidden, d_weight, d_bias); what is not wanted is empty."""
    problem = Problem(
        hidden=hidden,
        weight=weight,
        targets=targets,
        bias=bias,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        z_loss=z_loss,
        softcap=softcap,
        logit_scale=logit_scale,
        compute_dtype=compute_dtype,
        memory_budget=memory_budget,
        statistics=statistics,
    )
    swept = sweep(problem, coefficient, Wanted(hidden=want_hidden, weight=want_weight, bias=want_bias))
    return (
        swept.loss if coefficient is None else _weighted_sum(swept.loss, coefficient, targets != ignore_index),
        swept.nll,
        swept.lse,
        swept.entropy,
        swept.hit,
        *_gradients_or_empty(swept, hidden),
    )


def _weighted_sum(loss: Tensor, coefficient: Tensor, scored: Tensor) -> Tensor:
    return torch.where(scored, loss * coefficient.to(loss.dtype), 0.0).sum()


def _gradients_or_empty(swept: Swept, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    def made(gradient: Tensor | None) -> Tensor:
        return like.new_empty(0) if gradient is None else gradient

    return made(swept.d_hidden), made(swept.d_weight), made(swept.d_bias)


@_chunked.register_fake
def _(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None,
    coefficient: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    softcap: float | None,
    logit_scale: float,
    compute_dtype: torch.dtype,
    memory_budget: int,
    statistics: bool,
    want_hidden: bool,
    want_weight: bool,
    want_bias: bool,
) -> tuple[Tensor, ...]:
    N = hidden.shape[0]
    rows = torch.empty(N, dtype=accumulation_dtype(compute_dtype), device=hidden.device)
    extra = N if statistics else 0
    return (
        rows.new_empty(N if coefficient is None else ()),
        rows,
        torch.empty_like(rows),
        rows.new_empty(extra),
        rows.new_empty(extra, dtype=torch.bool),
        *_fake_gradients(hidden, weight, bias, (want_hidden, want_weight, want_bias)),
    )


def _fake_gradients(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor, ...]:
    return tuple(
        tensor.new_empty(tensor.shape) if want and tensor is not None else hidden.new_empty(0)
        for want, tensor in zip(wanted, (hidden, weight, bias), strict=True)
    )


def _setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    hidden, weight, targets, bias, coefficient, *options = inputs
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(hidden, weight, targets, bias, coefficient)
    ctx.options = options[:8]
    ctx.wanted = options[8:]
    ctx.gradients = output[_GRADIENTS_AT:] if any(ctx.wanted) else None


def _backward(ctx, grad_loss, *_):  # type: ignore[no-untyped-def]
    if grad_loss is None:
        return (None,) * 16
    hidden, weight, targets, bias, coefficient = ctx.saved_tensors
    if ctx.gradients is not None and not torch.is_grad_enabled():
        wanted = ctx.wanted
        made, ctx.gradients = ctx.gradients, None
        made = tuple(
            _scaled(gradient, grad_loss) if want else None for gradient, want in zip(made, wanted, strict=True)
        )
    else:
        wanted = [ctx.needs_input_grad[i] for i in (0, 1, 3)]
        rows = grad_loss if coefficient is None else grad_loss * coefficient
        made = _chunked_gradients(hidden, weight, targets, bias, rows, *ctx.options, *wanted)
    d_hidden, d_weight, d_bias = (gradient if want else None for gradient, want in zip(made, wanted, strict=True))
    return (d_hidden, d_weight, None, d_bias, *(None,) * 12)


_chunked.register_autograd(_backward, setup_context=_setup)


def _scaled(gradient: Tensor, factor: Tensor) -> Tensor:
    """gradient * factor; in place when run, not touched where the factor is 1 and knowing it costs no wait."""
    if type(gradient) is not Tensor:  # traced: the compiler decides what is done in place
        return gradient * factor.to(gradient.dtype)
    if factor.device.type == "cpu" and factor.item() == 1.0:
        return gradient
    return gradient.mul_(factor.to(gradient.dtype))


@torch.library.custom_op("lmhead::chunked_gradients", mutates_args=())
def _chunked_gradients(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None,
    coefficient: Tensor,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    softcap: float | None,
    logit_scale: float,
    compute_dtype: torch.dtype,
    memory_budget: int,
    statistics: bool,
    want_hidden: bool,
    want_weight: bool,
    want_bias: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """(d_hidden, d_weight, d_bias) of sum(coefficient * loss); what is not wanted is empty."""
    problem = Problem(
        hidden=hidden,
        weight=weight,
        targets=targets,
        bias=bias,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        z_loss=z_loss,
        softcap=softcap,
        logit_scale=logit_scale,
        compute_dtype=compute_dtype,
        memory_budget=memory_budget,
    )
    swept = sweep(problem, coefficient, Wanted(hidden=want_hidden, weight=want_weight, bias=want_bias))
    return _gradients_or_empty(swept, hidden)


@_chunked_gradients.register_fake
def _(  # type: ignore[no-untyped-def]
    hidden, weight, targets, bias, coefficient, *options
) -> tuple[Tensor, ...]:
    return _fake_gradients(hidden, weight, bias, tuple(options[-3:]))


def _no_second_derivative(ctx, *grads):  # type: ignore[no-untyped-def]
    raise NotImplementedError(
        "linear_cross_entropy has no second derivative: call backward without create_graph=True, "
        'or use backend="reference", which has one'
    )


_chunked_gradients.register_autograd(_no_second_derivative)
