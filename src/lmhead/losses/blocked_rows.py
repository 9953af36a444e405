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
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lmhead.ops.loss_options import LossOptions
from lmhead.ops.problem import ROW_OUTPUTS, Solved, accumulation_dtype
from lmhead.ops.tensor_values import carries_tangent, has_values, is_traced, is_transformed
from lmhead.ops.top_tokens import largest

_BLOCK_ELEMENTS = {"cpu": 400_000}  # 1.6 MB of float32: the second-level cache of a core
_BLOCK_ELEMENTS_ELSEWHERE = 2**26  # 256 MiB of float32: enough to fill an accelerator
_BLOCKS_WITHOUT_VALUES = 32  # of fake tensors: a block takes torch 30 ms however few rows it has


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsWanted:
    """What is wanted of each row, and what its loss is made of."""

    options: LossOptions
    outputs: frozenset[str]  # names in ROW_OUTPUTS
    top_k: int  # of how many tokens the top_ids and top_logprobs are

    @property
    def names(self) -> list[str]:
        """Of the outputs, in the table's order."""
        return [output.name for output in ROW_OUTPUTS if output.name in self.outputs]

    def zeros(self, like: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
        """Of each output, for rows like these."""
        N = like.shape[0]
        return {
            output.name: like.new_zeros(output.shape(N, 1, self.top_k), dtype=output.dtype or dtype)
            for output in ROW_OUTPUTS
            if output.name in self.outputs
        }


def row_losses(
    logits: Tensor,  # [N, V]
    targets: Tensor,  # [N], in [0, V) where scored
    scored: Tensor,  # [N] bool
    wanted: RowsWanted,
) -> Solved:
    """Loss and outputs of each row, nats, unweighted, 0 where not scored; only the loss is differentiable."""
    if is_traced() or is_transformed() or carries_tangent([logits]):  # a compiler makes the blocks itself
        return _unblocked(logits, targets.where(scored, 0), scored, wanted)
    rows = None if not has_values(scored) or bool(scored.all()) else scored.nonzero()[:, 0]
    loss, *columns = _Blocked.apply(logits, targets, rows, wanted)  # type: ignore[no-untyped-call]
    return Solved(loss=loss, rows=dict(zip(wanted.names, columns, strict=True)))


class _Blocked(torch.autograd.Function):
    """Loss [N] of each row, 0 where it is not scored, and the outputs, which are not differentiated."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,  # [N, V]
        targets: Tensor,  # [N]
        rows: Tensor | None,  # [n], the scored ones; None is all
        wanted: RowsWanted,
    ) -> tuple[Tensor, ...]:
        dtype = accumulation_dtype(logits.dtype)
        columns = wanted.zeros(logits, dtype)
        loss = torch.zeros_like(columns["lse"])
        for picked in _blocks(logits, rows):
            of_block = _block(logits[picked].to(dtype), targets[picked][:, None], wanted)
            loss[picked] = of_block.loss[:, 0]
            for name, column in columns.items():
                values = of_block.rows[name]
                column[picked] = values if column.dim() == 2 else values[:, 0]
        ctx.save_for_backward(logits, targets, rows, columns["nll"], columns["lse"])
        ctx.options = wanted.options
        ctx.mark_non_differentiable(*columns.values())
        return loss, *columns.values()

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor, *_: Tensor) -> tuple[Tensor, None, None, None]:
        logits, targets, rows, nll, lse = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: through plain torch
            return _plain_gradient(logits, targets, rows, ctx.options, grad_loss), None, None, None
        gradient = torch.empty_like(logits) if rows is None else torch.zeros_like(logits)
        for picked in _blocks(logits, rows):
            target, n, z, g = (column[picked][:, None] for column in (targets, nll[:, 0], lse, grad_loss))
            gradient[picked] = _gradient_block(logits[picked], target, n, z, g, ctx.options).to(gradient.dtype)
        return gradient, None, None, None


def _blocks(logits: Tensor, rows: Tensor | None) -> list[slice] | list[Tensor]:
    N, V = logits.shape
    size = max(1, _BLOCK_ELEMENTS.get(logits.device.type, _BLOCK_ELEMENTS_ELSEWHERE) // V)
    if not has_values(logits):
        size = max(size, N // _BLOCKS_WITHOUT_VALUES)
    if rows is None:
        return [slice(start, start + size) for start in range(0, N, size)]
    return list(torch.split(rows, size))


def _block(x: Tensor, target: Tensor, wanted: RowsWanted) -> Solved:
    """Loss and outputs, each [R, 1] or [R, k], of logits x [R, V] and targets [R, 1].

    The target's exponential is set apart before the sum: others / e_target is exact where p(target) -> 1 and
    1 - p would be 0 in float32.
    """
    options, outputs = wanted.options, wanted.outputs
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
    rows = {"nll": nll, "lse": lse}
    if "hit" in outputs:
        rows["hit"] = x.argmax(1, keepdim=True) == target
    if "rank" in outputs:
        rows["rank"] = (x > z_target).sum(1, keepdim=True)
    if "top_ids" in outputs:
        logits, rows["top_ids"] = largest(x, wanted.top_k)
        rows["top_logprobs"] = torch.where(logits == z_target, -nll, logits - top - log_total)
    if "entropy" in outputs:
        moment = shifted.clamp(min=-1e4).mul_(e.scatter_(1, target, e_target)).sum(1, keepdim=True)
        rows["entropy"] = log_total - moment / total
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


def _unblocked(flat: Tensor, targets: Tensor, scored: Tensor, wanted: RowsWanted) -> Solved:
    x, target = flat.to(accumulation_dtype(flat.dtype)).where(scored[:, None], 0), targets[:, None]
    loss, nll, lse = _plain(x, target, wanted.options)
    rows = {"nll": nll, "lse": lse}
    if "hit" in wanted.outputs:
        rows["hit"] = x.argmax(1) == targets
    if "rank" in wanted.outputs:
        rows["rank"] = (x > x.gather(1, target)).sum(1)
    if "entropy" in wanted.outputs:
        rows["entropy"] = torch.special.entr(x.detach().softmax(1)).sum(1)
    if "top_ids" in wanted.outputs:
        logits, rows["top_ids"] = largest(x.detach(), wanted.top_k)
        rows["top_logprobs"] = logits - lse[:, None]
    ignored = ~scored
    rows = {
        name: column.detach().masked_fill(ignored[:, None] if column.dim() == 2 else ignored, 0)
        for name, column in rows.items()
    }
    return Solved(loss=loss.where(scored, 0), rows=rows)
