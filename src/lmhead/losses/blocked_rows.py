"""Cross entropy of rows of logits, a few rows at a time, as one autograd node.

    for each block of scored rows:     float32, stays in the second-level cache
        loss, nll, lse of each row     the logits are read where they lie, no copy of width V is kept
    backward: softmax - onehot, block by block, written straight into the gradient

No float32 copy of 16-bit logits is made, nor a log-softmax kept: beyond the gradient there is one block. What is traced
or transformed (torch.func, forward mode) is written out in plain torch instead, all rows at once, as its compiler and
its transforms need it. Fake and meta tensors go through the blocks: memory estimated with them is near this code's.
Not here: which rows are scored, weights and reductions (cross_entropy.py).
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lmhead.ops.loss_options import LossOptions
from lmhead.ops.problem import Outputs, Solved, accumulation_dtype
from lmhead.ops.row_reader import KnownRows
from lmhead.ops.row_terms import output_zeros, readers_of
from lmhead.ops.tensor_values import carries_tangent, has_values, is_traced, is_transformed

_BLOCK_ELEMENTS = {"cpu": 400_000}  # 1.6 MB of float32: the second-level cache of a core
_BLOCK_ELEMENTS_ELSEWHERE = 2**26  # 256 MiB of float32: enough to fill an accelerator
_BLOCKS_WITHOUT_VALUES = 32  # of fake tensors: a block takes torch 30 ms however few rows it has


def row_losses(
    logits: Tensor,  # [N, V]
    targets: Tensor,  # [N], in [0, V) where scored
    scored: Tensor,  # [N] bool
    options: LossOptions,
    outputs: Outputs,
) -> Solved:
    """Loss [N] and outputs of each row, nats, unweighted, 0 where not scored; only the loss is differentiable."""
    if is_traced() or is_transformed() or carries_tangent([logits]):  # a compiler makes the blocks itself
        return _unblocked(logits, targets.where(scored, 0), scored, options, outputs)
    rows = None if not has_values(scored) or bool(scored.all()) else scored.nonzero()[:, 0]
    loss, *columns = _Blocked.apply(logits, targets, rows, options, outputs)  # type: ignore[no-untyped-call]
    return Solved(loss=loss, rows=dict(zip(outputs, columns, strict=True)))


class _Blocked(torch.autograd.Function):
    """Loss [N] of each row, 0 where it is not scored, and the outputs, which are not differentiated."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,  # [N, V]
        targets: Tensor,  # [N]
        rows: Tensor | None,  # [n], the scored ones; None is all
        options: LossOptions,
        outputs: Outputs,
    ) -> tuple[Tensor, ...]:
        dtype = accumulation_dtype(logits.dtype)
        loss = logits.new_zeros(logits.shape[0], 1, dtype=dtype)
        columns = output_zeros(outputs, loss)
        for picked in _blocks(logits, rows):
            of_block = _block(logits[picked].to(dtype), targets[picked][:, None], options, outputs)
            loss[picked] = of_block.loss
            for name, column in columns.items():
                column[picked] = of_block.rows[name]
        ctx.save_for_backward(logits, targets, rows, columns["nll"], columns["lse"])
        ctx.options = options
        ctx.mark_non_differentiable(*columns.values())
        return loss[:, 0], *(columns[name] for name in outputs)

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor, *_: Tensor) -> tuple[Tensor, None, None, None, None]:
        logits, targets, rows, nll, lse = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: through plain torch
            return _plain_gradient(logits, targets, rows, ctx.options, grad_loss), None, None, None, None
        gradient = torch.empty_like(logits) if rows is None else torch.zeros_like(logits)
        for picked in _blocks(logits, rows):
            target, n, z, g = (column[picked][:, None] for column in (targets, nll[:, 0], lse, grad_loss))
            gradient[picked] = _gradient_block(logits[picked], target, n, z, g, ctx.options).to(gradient.dtype)
        return gradient, None, None, None, None


def _blocks(logits: Tensor, rows: Tensor | None) -> list[slice] | list[Tensor]:
    N, V = logits.shape
    size = max(1, _BLOCK_ELEMENTS.get(logits.device.type, _BLOCK_ELEMENTS_ELSEWHERE) // V)
    if not has_values(logits):
        size = max(size, N // _BLOCKS_WITHOUT_VALUES)
    if rows is None:
        return [slice(start, start + size) for start in range(0, N, size)]
    return list(torch.split(rows, size))


def _block(x: Tensor, target: Tensor, options: LossOptions, outputs: Outputs) -> Solved:
    """Loss [R, 1] and outputs of logits x [R, V] and targets [R, 1].

    The target's exponential is set apart before the sum: others / e_target is exact where p(target) -> 1 and
    1 - p would be 0 in float32.
    """
    top = x.amax(1, keepdim=True)
    z_target = x.gather(1, target)
    shifted = x - top
    e = shifted.exp()
    e_target = e.gather(1, target)
    others = e.scatter_(1, target, 0.0).sum(1, keepdim=True)
    total = others + e_target
    log_total = total.log()
    lse = top + log_total
    nll = torch.where(e_target > 1e-30, torch.log1p(others / e_target), log_total - (z_target - top))
    loss = nll
    if options.label_smoothing:
        loss = (1 - options.label_smoothing) * nll + options.label_smoothing * (lse - x.mean(1, keepdim=True))
    if options.z_loss:
        loss = loss + options.z_loss * lse.square()
    rows = {"nll": nll, "lse": lse[:, 0]}
    if "hit" in outputs:
        rows["hit"] = x.argmax(1, keepdim=True) == target
    if "max_logprob" in outputs:
        rows["max_logprob"] = -torch.where(z_target == top, nll, log_total)[:, 0]
    if "rank" in outputs:
        rows["rank"] = (x > z_target).sum(1, keepdim=True)
    for reader in readers_of(outputs):
        reader.read(x, slice(0, x.shape[0]), 0)
        rows |= reader.outputs(
            KnownRows(top=top, log_total=log_total, z_target=z_target, nll=nll, scored=torch.ones_like(target) > 0)
        )
    if "entropy" in outputs:
        moment = shifted.clamp(min=-1e4).mul_(e.scatter_(1, target, e_target)).sum(1, keepdim=True)
        rows["entropy"] = (log_total - moment / total)[:, 0]
    return Solved(loss=loss, rows=rows)


def _gradient_block(x: Tensor, target: Tensor, nll: Tensor, lse: Tensor, grad: Tensor, options: LossOptions) -> Tensor:
    """grad * d loss / d x [R, V]: k p_j - s / V - (1 - s) [j = target], k = 1 + 2 z_loss lse.

    At the target p - 1 is written as expm1(-nll), which keeps its digits where p -> 1.
    """
    s, excess = options.label_smoothing, 2 * options.z_loss * lse
    share = s / x.shape[1]
    probability = (x - lse).exp_()
    at_target = torch.expm1(-nll) + excess * (-nll).exp() + (s - share)
    probability.mul_(grad * (1 + excess))
    if s:
        probability.sub_(grad * share)
    return probability.scatter_(1, target, grad * at_target)


def _plain(x: Tensor, target: Tensor, options: LossOptions) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, nll, lse), each [n], of logits x [n, V] and targets [n, 1]: the definition, in differentiable torch."""
    z_target = x.gather(1, target)[:, 0]
    others = x.scatter(1, target, -math.inf).logsumexp(1)
    nll = F.softplus(others - z_target, threshold=50)
    lse = torch.logaddexp(others, z_target)
    loss = nll
    if options.label_smoothing:
        loss = (1 - options.label_smoothing) * nll + options.label_smoothing * (lse - x.mean(1))
    return (loss + options.z_loss * lse.square() if options.z_loss else loss), nll, lse


def _plain_gradient(
    logits: Tensor, targets: Tensor, rows: Tensor | None, options: LossOptions, grad_loss: Tensor
) -> Tensor:
    picked = slice(None) if rows is None else rows
    loss, _, _ = _plain(logits[picked].to(grad_loss.dtype), targets[picked][:, None], options)
    (gradient,) = torch.autograd.grad(loss, logits, grad_loss[picked], create_graph=True)
    return gradient


def _unblocked(flat: Tensor, targets: Tensor, scored: Tensor, options: LossOptions, outputs: Outputs) -> Solved:
    x, target = flat.to(accumulation_dtype(flat.dtype)).where(scored[:, None], 0), targets[:, None]
    loss, nll, lse = _plain(x, target, options)
    rows = {"nll": nll[:, None], "lse": lse}
    if "hit" in outputs:
        rows["hit"] = x.argmax(1, keepdim=True) == target
    if "max_logprob" in outputs:
        top = x.detach().amax(1)
        rows["max_logprob"] = torch.where(x.gather(1, target)[:, 0] == top, -nll, top - lse).detach()
    if "rank" in outputs:
        rows["rank"] = (x > x.gather(1, target)).sum(1, keepdim=True)
    if "entropy" in outputs:
        rows["entropy"] = torch.special.entr(x.detach().softmax(1)).sum(1)
    known = KnownRows(
        top=torch.zeros_like(lse[:, None]),
        log_total=lse[:, None],
        z_target=x.gather(1, target),
        nll=nll[:, None],
        scored=scored[:, None],
    )
    for reader in readers_of(outputs):
        reader.read(x.detach(), slice(0, x.shape[0]), 0)
        rows |= reader.outputs(known)
    ignored = ~scored
    rows = {
        name: column.detach().masked_fill(ignored[:, None] if column.dim() == 2 else ignored, 0)
        for name, column in rows.items()
    }
    return Solved(loss=loss.where(scored, 0), rows=rows)
