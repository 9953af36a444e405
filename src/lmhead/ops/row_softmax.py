"""A chunk's logits on their way to being their gradient: a few rows at a time, in float32, in the cache.

With p = softmax(z), per row n and target k, what is differentiated is

    sum_k c_nk * loss_nk + c_lse * lse_n + c_entropy * entropy_n
    loss_nk = (1 - s) * (lse - z_tk) + s * (lse - mean z) + z_loss * lse^2

and with C = sum_k c_nk its derivative by z_j is

    p_j * (C * (1 + 2 z_loss lse) + c_lse - c_entropy * (log p_j + entropy)) - C s / V - (1 - s) sum_k c_nk [j = t_k]

The targets' exponentials are set apart before the sum, so that 1 - p(target) is a sum of the others, exact where
p(target) -> 1 and the difference would be 0 in float32.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lmhead.ops.logit_transform import LogitTransform
from lmhead.ops.plan import Plan
from lmhead.ops.problem import Problem, accumulation_dtype

LEAST = -1e4  # of a logit below the row's largest: its exponential is 0, and 0 * -inf would be NaN


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCoefficients:
    """What each row's outputs are multiplied with in the sum whose gradient is made."""

    loss: Tensor  # [N, K]
    lse: Tensor | None = None  # [N]
    entropy: Tensor | None = None  # [N]

    def of(self, picked: slice | Tensor, factor: float, dtype: torch.dtype) -> "RowCoefficients":
        """Those of some rows, times a factor."""

        def taken(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[picked].to(dtype)[:, None] * factor

        return RowCoefficients(
            loss=self.loss[picked].to(dtype) * factor, lse=taken(self.lse), entropy=taken(self.entropy)
        )


@dataclass(slots=True, kw_only=True)
class RowOutputs:
    """Per-row results, of all rows or of one chunk's."""

    loss: Tensor  # [n, K]
    nll: Tensor  # [n, K]
    lse: Tensor  # [n]
    entropy: Tensor  # [n] or [0]
    hit: Tensor  # [n, K] or [0, K]
    rank: Tensor  # [n, K] or [0, K]

    @staticmethod
    def zeros(problem: Problem) -> "RowOutputs":
        """Of all rows: 0 where nothing will be written."""
        N, K = problem.targets.shape
        lse = problem.hidden.new_zeros(N, dtype=accumulation_dtype(problem.compute_dtype))
        return RowOutputs(
            loss=lse.new_zeros(N, K),
            nll=lse.new_zeros(N, K),
            lse=lse,
            entropy=lse.new_zeros(N if problem.entropy else 0),
            hit=lse.new_zeros(N if problem.hits else 0, K, dtype=torch.bool),
            rank=lse.new_zeros(N if problem.ranks else 0, K, dtype=torch.int64),
        )

    def put(self, picked: slice | Tensor, chunk: "RowOutputs", scored: Tensor) -> None:
        """Write a chunk's rows where they came from; 0 for targets that are not `scored` [n, K]."""
        self.loss[picked] = chunk.loss.where(scored, 0)
        self.nll[picked] = chunk.nll.where(scored, 0)
        self.lse[picked] = chunk.lse
        if self.entropy.numel():
            self.entropy[picked] = chunk.entropy
        if self.hit.numel():
            self.hit[picked] = chunk.hit & scored
        if self.rank.numel():
            self.rank[picked] = chunk.rank.where(scored, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowGradient:
    """A row's gradient by its logits, from x = logit - top: exp(x) * (factor + slope * x) - share; else `at_target`.

    (From x = logit - lse every entry of the row would share the rounding of lse.)
    """

    top: Tensor  # [n, 1]
    factor: Tensor  # [n, 1]
    slope: Tensor | None  # [n, 1]
    share: Tensor | None  # [n, 1]
    at_target: Tensor  # [n, K]
    targets: Tensor  # [n, K]


class RowSoftmax:
    """One chunk's logits [n, V]: statistics of its rows, and the gradient of the products, written over them."""

    def __init__(
        self,
        problem: Problem,
        transform: LogitTransform,
        logits: Tensor,  # [n, V]
        targets: Tensor,  # [n, K]; those that are ignored may hold anything
        coefficient: RowCoefficients | None,  # of these rows, times logit_scale; None where no gradient is wanted
        *,
        keeps_gradient: bool = False,  # `gradient()` will be asked for
    ) -> None:
        self.problem, self.transform, self.logits = problem, transform, logits
        self.scored = targets != problem.ignore_index
        self.targets = targets.where(self.scored, 0)
        self.coefficient = coefficient
        self.keeps_gradient = keeps_gradient
        self.needs_entropy = problem.entropy or (coefficient is not None and coefficient.entropy is not None)
        if coefficient is not None:
            self.of_loss = coefficient.loss.where(self.scored, 0)
            self.sum_of_loss = self.of_loss.sum(1, keepdim=True)
        # What the blocks leave for each row; losses and statistics are made of it for the whole chunk at once.
        n, K = targets.shape
        column = logits.new_empty(n, 1, dtype=accumulation_dtype(problem.compute_dtype))
        self.top, self.rest, self.mean, self.moment, self.factor = (torch.empty_like(column) for _ in range(5))
        self.slope = torch.empty_like(column)
        self.z_target, self.e_target, self.at_target = (column.new_empty(n, K) for _ in range(3))
        self.hit = self.targets.new_empty(n, K, dtype=torch.bool)
        self.rank = torch.empty_like(self.z_target)
        if K > 1:
            equal = self.targets[:, :, None] == self.targets[:, None, :]  # [n, K, K]
            self.apart = (~equal).to(column.dtype)
            self.first = (~(equal & equal.new_ones(K, K).tril(-1)).any(2)).to(column.dtype)
            if coefficient is not None:
                self.of_loss = (equal * self.of_loss[:, None, :]).sum(2)  # equal targets are one entry of the gradient

    @staticmethod
    def copies(problem: Problem, transform: LogitTransform, coefficient: RowCoefficients | None) -> int:
        """Float32 buffers of a block's shape that a block needs at once."""
        widened = problem.compute_dtype != accumulation_dtype(problem.compute_dtype)
        return int(widened) + transform.copies + int(_keeps_shifted(problem, coefficient))

    def run(self, buffer: Tensor, plan: Plan) -> RowOutputs:
        """The rows' outputs; the products' gradient is left in `logits` where there is a coefficient."""
        copies = list(torch.split(buffer, plan.block_rows)) if plan.block_copies else []
        own = None if self.logits.dtype == buffer.dtype else copies.pop()
        for index, source in enumerate(torch.split(self.logits, plan.block_rows)):
            rows = slice(index * plan.block_rows, index * plan.block_rows + source.shape[0])
            block = source if own is None else own[: source.shape[0]].copy_(source)
            self._block(block, rows, [copy[: source.shape[0]] for copy in copies])
            if block is not source and self.coefficient is not None:
                source.copy_(block)
        return self._outputs()

    def gradient(self) -> RowGradient:
        """What the gradient of these rows' logits was made of; after `run`, with a coefficient."""
        assert self.coefficient is not None
        slope = None if self.coefficient.entropy is None else self.slope
        smoothing = self.problem.label_smoothing
        return RowGradient(
            top=self.top,
            factor=self.factor,
            slope=slope,
            share=self.sum_of_loss * (smoothing / self.problem.weight.shape[0]) if smoothing else None,
            at_target=self.at_target,
            targets=self.targets,
        )

    def _block(self, x: Tensor, rows: slice, spare: list[Tensor]) -> None:
        """Turn products x [R, V] into their gradient, in place, and note what the rows' outputs are made of."""
        problem, targets = self.problem, self.targets[rows]
        kept = self.transform.forward(x, spare)
        if problem.label_smoothing:
            torch.mean(x, 1, keepdim=True, out=self.mean[rows])
        top = torch.amax(x, 1, keepdim=True, out=self.top[rows])
        z_target = torch.gather(x, 1, targets, out=self.z_target[rows])
        shifted = spare.pop() if _keeps_shifted(problem, self.coefficient) else x
        if problem.ranks:
            _count_larger(x, z_target, shifted, out=self.rank[rows])
        torch.exp(torch.sub(x, top, out=shifted), out=x)
        torch.gather(x, 1, targets, out=self.e_target[rows])
        x.scatter_(1, targets, 0.0)
        rest = torch.sum(x, 1, keepdim=True, out=self.rest[rows])
        if problem.hits:
            _mark_hits(shifted, targets, torch.eq(z_target, top, out=self.hit[rows]), rest)
        if self.needs_entropy:
            _row_dot(x, shifted, out=self.moment[rows])
        if self.coefficient is not None:
            self._gradient(x, shifted, rows)
            self.transform.backward(x, kept)

    def _gradient(self, x: Tensor, moments: Tensor, rows: slice) -> None:
        """x holds exponentials e with 0 at the targets, moments e times log e; leave the gradient of the logits.

        At a target with summed coefficient c the entry is written as
        (1 - s) * ((C - c) p - c (1 - p)) + s (C p - C / V) + ..., which keeps its digits where p -> 1 and s is large.
        """
        assert self.coefficient is not None
        smoothing, scale, e_target = self.problem.label_smoothing, self.sum_of_loss[rows], self.e_target[rows]
        others, total = self._others(rows)
        over_total = scale / total
        if e_target.shape[1] == 1:
            at_target = (over_total * others).neg_()
        else:
            at_target = (((scale - self.of_loss[rows]) * e_target) - self.of_loss[rows] * others) / total
        share = scale * (smoothing / x.shape[1]) if smoothing else None
        if share is not None:
            at_target *= 1 - smoothing
            at_target += smoothing * over_total * e_target - share
        more = self._more(rows)
        if more is not None:
            scale = scale + more
            at_target += more * e_target / total
            over_total = scale / total
        if self.coefficient.entropy is None:
            x.mul_(over_total)
        else:
            slope, entropy = -self.coefficient.entropy[rows], self._entropy(rows)
            at_target += slope * (entropy - self._nll(rows)) * e_target / total
            over_total = (scale + slope * (entropy - self._log_total(rows))) / total
            slope = torch.div(slope, total, out=self.slope[rows])
            x.mul_(over_total).add_(moments.mul_(slope))
        if share is not None:
            x.sub_(share)
        x.scatter_(1, self.targets[rows], at_target)
        if self.keeps_gradient:
            self.factor[rows], self.at_target[rows] = over_total, at_target

    def _more(self, rows: slice) -> Tensor | None:
        """What multiplies p beside C [R, 1]: the z-loss's and the lse's coefficients."""
        assert self.coefficient is not None
        more = None if self.coefficient.lse is None else self.coefficient.lse[rows]
        if self.problem.z_loss:
            lse = self.top[rows] + self._log_total(rows)
            of_square = 2 * self.problem.z_loss * lse * self.sum_of_loss[rows]
            more = of_square if more is None else more + of_square
        return more

    def _others(self, rows: slice) -> tuple[Tensor, Tensor]:
        """(the exponentials of all but each target [R, K], of all [R, 1])."""
        rest, e_target = self.rest[rows], self.e_target[rows]
        if e_target.shape[1] == 1:
            return rest, rest + e_target
        distinct = e_target * self.first[rows]
        return rest + (self.apart[rows] * distinct[:, None, :]).sum(2), rest + distinct.sum(1, keepdim=True)

    def _log_total(self, rows: slice) -> Tensor:
        """lse above the largest logit [R, 1], exact too where a target is that logit and the others vanish."""
        others, total = self._others(rows)
        target_is_top = self.z_target[rows] == self.top[rows]
        return torch.where(target_is_top, others.log1p(), total.log()).amin(1, keepdim=True)

    def _nll(self, rows: slice) -> Tensor:
        """-log p of each target [R, K]."""
        others, _ = self._others(rows)
        e_target = self.e_target[rows]
        from_logits = self._log_total(rows) - (self.z_target[rows] - self.top[rows])
        return torch.where(e_target > 1e-30, torch.log1p(others / e_target), from_logits)

    def _entropy(self, rows: slice) -> Tensor:
        """Of each row [R, 1]."""
        e_target = self.e_target[rows]
        if e_target.shape[1] > 1:
            e_target = e_target * self.first[rows]
        margin = (self.z_target[rows] - self.top[rows]).clamp(min=LEAST)
        moment = self.moment[rows] + (e_target * margin).sum(1, keepdim=True)
        return self._log_total(rows) - moment / self._others(rows)[1]

    def _outputs(self) -> RowOutputs:
        problem, every = self.problem, slice(None)
        nll, lse = self._nll(every), self.top + self._log_total(every)
        loss = nll
        if problem.label_smoothing:
            loss = (1 - problem.label_smoothing) * nll + problem.label_smoothing * (lse - self.mean)
        if problem.z_loss:
            loss = loss + problem.z_loss * lse.square()
        entropy = self._entropy(every)[:, 0] if problem.entropy else lse[:0, 0]
        return RowOutputs(loss=loss, nll=nll, lse=lse[:, 0], entropy=entropy, hit=self.hit, rank=self.rank.long())


def _keeps_shifted(problem: Problem, coefficient: RowCoefficients | None) -> bool:
    """Whether the logits below the largest are needed beside their exponentials."""
    return (
        problem.entropy
        or problem.hits
        or problem.ranks
        or (coefficient is not None and coefficient.entropy is not None)
    )


def _count_larger(x: Tensor, z_target: Tensor, spare: Tensor, *, out: Tensor) -> None:
    """How many logits of each row are larger than each target's [R, K]. (Counted in floats: six times as fast.)"""
    for z, count in zip(torch.split(z_target, 1, 1), torch.split(out, 1, 1), strict=True):
        torch.sum(torch.gt(x, z, out=spare), 1, keepdim=True, out=count)


def _mark_hits(shifted: Tensor, targets: Tensor, candidate: Tensor, rest: Tensor) -> None:
    """candidate [R, K], a target as large as the largest logit: leave it where it is the first of these.

    Only rows are searched in which another may be as large: its exponential, 1, is a part of `rest`.
    """
    rows = (candidate.any(1) & (rest[:, 0] >= 0.99)).nonzero()[:, 0]
    if rows.numel():
        candidate[rows] = shifted[rows].argmax(1, keepdim=True) == targets[rows]


def _row_dot(x: Tensor, shifted: Tensor, *, out: Tensor) -> None:
    """sum_j x_j * shifted_j of each row [R, 1]; shifted becomes the summands. 0 * -inf (a masked token) counts as 0."""
    if x.device.type != "cpu":  # looking whether there is one would wait
        shifted.clamp_(min=LEAST)
    torch.sum(shifted.mul_(x), 1, keepdim=True, out=out)
    if x.device.type == "cpu" and not math.isfinite(out.sum().item()):
        torch.sum(shifted.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0), 1, keepdim=True, out=out)
