"""A chunk's whole rows of logits, on their way to being their gradient: some rows at a time, in float32, in cache."""

import math

import torch
from torch import Tensor

from lmhead.ops.problem import Problem
from lmhead.ops.products.logit_transform import LogitTransform
from lmhead.ops.products.plan import Plan
from lmhead.ops.row_terms import LEAST, RowCoefficients, RowTerms, needs_moment


class RowSoftmax:
    """Fills a chunk's columns from its products [n, V], and writes their gradient over them where one is wanted."""

    def __init__(self, problem: Problem, transform: LogitTransform, columns: RowTerms, *, differentiated: bool) -> None:
        self.problem, self.transform, self.columns = problem, transform, columns
        self.differentiated = differentiated  # the gradient is to be left in the products
        self.keeps_shifted = _keeps_shifted(problem, columns.coefficient)

    @staticmethod
    def copies(problem: Problem, transform: LogitTransform, coefficient: RowCoefficients | None) -> int:
        """Float32 buffers of a block's shape that a block needs at once."""
        widened = problem.compute_dtype != problem.dtype
        return int(widened) + transform.copies + int(_keeps_shifted(problem, coefficient))

    def run(self, products: Tensor, buffer: Tensor, plan: Plan) -> None:
        """Pass over the products [n, V], which hold their gradient afterwards if it is wanted."""
        copies = list(torch.split(buffer, plan.block_rows)) if plan.block_copies else []
        own = None if products.dtype == buffer.dtype else copies.pop()
        for index, source in enumerate(torch.split(products, plan.block_rows)):
            rows = slice(index * plan.block_rows, index * plan.block_rows + source.shape[0])
            block = source if own is None else own[: source.shape[0]].copy_(source)
            self._block(block, rows, [copy[: source.shape[0]] for copy in copies])
            if block is not source and self.differentiated:
                source.copy_(block)

    def _block(self, x: Tensor, rows: slice, spare: list[Tensor]) -> None:
        """Fill the rows' columns from products x [R, V]; leave their gradient in x."""
        problem, columns = self.problem, self.columns
        targets = columns.targets[rows]
        kept = self.transform.forward(x, spare)
        if problem.options.label_smoothing:
            torch.mean(x, 1, keepdim=True, out=columns.mean[rows])
        top = torch.amax(x, 1, keepdim=True, out=columns.top[rows])
        z_target = torch.gather(x, 1, targets, out=columns.z_target[rows])
        shifted = spare.pop() if self.keeps_shifted else x
        for reader in columns.readers:
            reader.read(x, rows, 0)
        if "rank" in problem.outputs:
            _count_larger(x, z_target, shifted, out=columns.rank[rows])
        torch.exp(torch.sub(x, top, out=shifted), out=x)
        torch.gather(x, 1, targets, out=columns.e_target[rows])
        x.scatter_(1, targets, 0.0)
        rest = torch.sum(x, 1, keepdim=True, out=columns.rest[rows])
        if "hit" in problem.outputs:
            _mark_hits(shifted, targets, torch.eq(z_target, top, out=columns.hit[rows]), rest)
        if needs_moment(problem, columns.coefficient):
            _row_dot(x, shifted, out=columns.moment[rows])
        if self.differentiated:
            self._gradient(x, shifted, targets, rows)
            self.transform.backward(x, kept)

    def _gradient(self, x: Tensor, moments: Tensor, targets: Tensor, rows: slice) -> None:
        """x holds exponentials e with 0 at the targets, moments e times log e; leave the gradient of the logits."""
        of_rows = self.columns.gradient(rows)
        x.mul_(of_rows.factor)
        if of_rows.slope is not None:
            x.add_(moments.mul_(of_rows.slope))
        if of_rows.share is not None:
            x.sub_(of_rows.share)
        x.scatter_(1, targets, of_rows.at_target)


def _keeps_shifted(problem: Problem, coefficient: RowCoefficients | None) -> bool:
    """Whether the logits below the largest are needed beside their exponentials."""
    return needs_moment(problem, coefficient) or not problem.outputs.keys().isdisjoint(("hit", "rank"))


def _count_larger(x: Tensor, z_target: Tensor, spare: Tensor, *, out: Tensor) -> None:
    """How many logits of each row are larger than each target's [R, K]. (Counted in floats: six times as fast.)"""
    for z, count in zip(torch.split(z_target, 1, 1), torch.split(out, 1, 1), strict=True):
        torch.sum(torch.gt(x, z, out=spare), 1, keepdim=True, out=count)


def _mark_hits(shifted: Tensor, targets: Tensor, candidate: Tensor, rest: Tensor) -> None:
    """candidate [R, K], a target as large as the largest logit: leave it where it is the first of these.

    Only rows are searched in which another may be as large: its exponential, 1, is a part of `rest`, or it is a target.
    """
    tied = candidate.any(1) & (rest[:, 0] >= 0.99)
    if targets.shape[1] > 1:
        tied |= candidate.sum(1) > 1
    rows = tied.nonzero()[:, 0]
    if rows.numel():
        candidate[rows] = shifted[rows].argmax(1, keepdim=True) == targets[rows]


def _row_dot(x: Tensor, shifted: Tensor, *, out: Tensor) -> None:
    """sum_j x_j * shifted_j of each row [R, 1]; shifted becomes the summands. 0 * -inf (a masked token) counts as 0."""
    if x.device.type != "cpu":  # looking whether there is one would wait
        shifted.clamp_(min=LEAST)
    torch.sum(shifted.mul_(x), 1, keepdim=True, out=out)
    if x.device.type == "cpu" and not math.isfinite(out.sum().item()):
        torch.sum(shifted.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0), 1, keepdim=True, out=out)
