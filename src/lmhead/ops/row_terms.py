"""Per row, a few numbers that a pass over its logits leaves; loss, statistics and gradient are made of them.

With p = softmax(z), per row n and target k, what is differentiated is

    sum_k c_nk * loss_nk + c_lse * lse_n + c_entropy * entropy_n
    loss_nk = (1 - s) * (lse - z_tk) + s * (lse - mean z) + z_loss * lse^2

and with C = sum_k c_nk its derivative by z_j is

    p_j * (C * (1 + 2 z_loss lse) + c_lse - c_entropy * (log p_j + entropy)) - C s / V - (1 - s) sum_k c_nk [j = t_k]

The targets' exponentials are kept apart from the sum of the rest, so that 1 - p(target) is a sum of the others, exact
where p(target) -> 1 and the difference would be 0 in float32.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lmhead.ops.problem import ROW_OUTPUTS, Outputs, Problem, Solved
from lmhead.ops.row_reader import KnownRows, RowReader
from lmhead.ops.top_tokens import TopTokens

READERS: tuple[type[RowReader], ...] = (TopTokens,)
LEAST = -1e4  # of a logit below the row's largest: its exponential is 0, and 0 * -inf would be NaN


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCoefficients:
    """What each row's outputs are multiplied with in the sum whose gradient is made."""

    loss: Tensor  # [N, K]
    lse: Tensor | None = None  # [N]
    entropy: Tensor | None = None  # [N]

    def of(self, picked: slice | Tensor, factor: float, dtype: torch.dtype) -> "RowCoefficients":
        """Those of some rows, times a factor, as columns."""

        def taken(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[picked].to(dtype)[:, None] * factor

        return RowCoefficients(
            loss=self.loss[picked].to(dtype) * factor, lse=taken(self.lse), entropy=taken(self.entropy)
        )


def solved_zeros(problem: Problem) -> Solved:
    """Of all rows, loss included: 0 where nothing will be written."""
    N, K = problem.targets.shape
    loss = problem.hidden.new_zeros(N, K, dtype=problem.dtype)
    return Solved(loss=loss, rows=output_zeros(problem.outputs, loss))


def output_zeros(outputs: Outputs, loss: Tensor) -> dict[str, Tensor]:
    """Of each output, for rows whose loss is [N, K]."""
    N, K = loss.shape
    return {
        output.name: loss.new_zeros(output.shape(N, K, outputs[output.name]), dtype=output.dtype or loss.dtype)
        for output in ROW_OUTPUTS
        if output.name in outputs
    }


def put(out: Solved, picked: slice | Tensor, terms: "RowTerms") -> None:
    """Write some rows where they came from; 0 for targets that are not scored."""
    of_chunk, ignored = terms.solved(), ~terms.scored
    out.loss[picked] = of_chunk.loss.masked_fill(ignored, 0)
    for output in ROW_OUTPUTS:
        if output.name in out.rows:
            values = of_chunk.rows[output.name]
            out.rows[output.name][picked] = values.masked_fill(ignored, 0) if output.of_each == "target" else values


def readers_of(outputs: Outputs) -> list[RowReader]:
    """Those that make what is wanted."""
    return [reader(outputs) for reader in READERS if not reader.makes.isdisjoint(outputs)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowGradient:
    """A row's gradient by its logits, from x = logit - top: exp(x) * (factor + slope * x) - share; else `at_target`.

    (From x = logit - lse every entry of the row would share the rounding of lse.)
    """

    factor: Tensor  # [n, 1]
    slope: Tensor | None  # [n, 1]
    share: Tensor | None  # [n, 1]
    at_target: Tensor  # [n, K]


def needs_moment(problem: Problem, coefficients: RowCoefficients | None) -> bool:
    """Whether each row's entropy is needed: `RowTerms.moment` has to be filled then."""
    return "entropy" in problem.outputs or (coefficients is not None and coefficients.entropy is not None)


class RowTerms:
    """Of n rows. Whoever passes over their logits fills the columns; what follows from them is asked for here."""

    def __init__(
        self,
        problem: Problem,
        targets: Tensor,  # [n, K]; those that are ignored may hold anything
        coefficient: RowCoefficients | None,  # of these rows, times logit_scale; None where no gradient is wanted
    ) -> None:
        self.problem = problem
        self.scored = targets != problem.ignore_index
        self.targets = (targets - problem.shard.start).where(self.scored, 0)  # columns of this problem's weight
        n, self.K = targets.shape
        dtype = problem.dtype
        column, of_targets = problem.hidden.new_empty(n, 1, dtype=dtype), self.targets.new_empty(n, self.K, dtype=dtype)
        self.top = column  # the largest logit
        self.rest = torch.empty_like(column)  # sum of exp(logit - top) over all that are no target
        self.mean = torch.empty_like(column)  # of the logits, where labels are smoothed
        self.moment = torch.empty_like(column)  # sum of exp(x) * x, x = logit - top, as `rest`; where entropy is needed
        self.z_target = of_targets  # the target's logit
        self.e_target = torch.empty_like(of_targets)  # exp(z_target - top)
        self.rank = torch.empty_like(of_targets)  # where wanted
        self.hit = torch.empty_like(of_targets, dtype=torch.bool)  # where wanted
        self.readers = readers_of(problem.outputs)
        self.coefficient = coefficient
        if coefficient is not None:
            self.of_loss = coefficient.loss.where(self.scored, 0)
            self.sum_of_loss = self.of_loss.sum(1, keepdim=True)
        if self.K > 1:
            # Of equal targets the first stands for all. (Target by target: nothing of size K * K is made.)
            firsts = [(self.targets == target).byte().argmax(1) for target in torch.split(self.targets, 1, 1)]
            self.stands_for = torch.stack(firsts, 1)  # [n, K]
            self.first = (self.stands_for == torch.arange(self.K, device=targets.device)).to(dtype)
            if coefficient is not None:  # equal targets are one entry of the gradient
                merged = torch.zeros_like(self.of_loss).scatter_add_(1, self.stands_for, self.of_loss)
                self.of_loss = merged.gather(1, self.stands_for)

    def solved(self) -> Solved:
        """Losses [n, K] and what is wanted of each row; of targets that are ignored, anything."""
        options, outputs, every = self.problem.options, self.problem.outputs, slice(None)
        nll, log_total = self._nll(every), self._log_total(every)
        lse = self.top + log_total
        loss = nll
        if options.label_smoothing:
            loss = (1 - options.label_smoothing) * nll + options.label_smoothing * (lse - self.mean)
        if options.z_loss:
            loss = loss + options.z_loss * lse.square()
        rows = {"nll": nll, "lse": lse[:, 0]}
        if "entropy" in outputs:
            rows["entropy"] = self._entropy(every)[:, 0]
        if "hit" in outputs:
            rows["hit"] = self.hit
        if "max_logprob" in outputs:
            rows["max_logprob"] = -log_total[:, 0]
        if "rank" in outputs:
            rows["rank"] = self.rank.long()
        known = KnownRows(top=self.top, log_total=log_total, z_target=self.z_target, nll=nll, scored=self.scored)
        for reader in self.readers:
            rows |= reader.outputs(known)
        return Solved(loss=loss, rows=rows)

    def gradient(self, rows: slice) -> RowGradient:
        """Of some rows, with a coefficient.

        At a target with summed coefficient c the entry is written as
        (1 - s) * ((C - c) p - c (1 - p)) + s (C p - C / V) + ..., which keeps its digits where p -> 1 and s is large.
        """
        assert self.coefficient is not None
        smoothing, scale, e_target = self.problem.options.label_smoothing, self.sum_of_loss[rows], self.e_target[rows]
        others, total = self._others(rows)
        factor = scale / total
        if self.K == 1:
            at_target = (factor * others).neg_()
        else:
            at_target = (((scale - self.of_loss[rows]) * e_target) - self.of_loss[rows] * others) / total
        share = scale * (smoothing / self.problem.vocab_size) if smoothing else None
        if share is not None:
            at_target *= 1 - smoothing
            at_target += smoothing * factor * e_target - share
        more = self._more(rows)
        if more is not None:
            scale = scale + more
            at_target += more * e_target / total
            factor = scale / total
        slope = None
        if self.coefficient.entropy is not None:
            slope, entropy = -self.coefficient.entropy[rows], self._entropy(rows)
            at_target += slope * (entropy - self._nll(rows).clamp(max=-LEAST)) * e_target / total
            factor = (scale + slope * (entropy - self._log_total(rows))) / total
            slope = slope / total
        return RowGradient(factor=factor, slope=slope, share=share, at_target=at_target)

    def _more(self, rows: slice) -> Tensor | None:
        """What multiplies p beside C [R, 1]: the z-loss's and the lse's coefficients."""
        assert self.coefficient is not None
        more = None if self.coefficient.lse is None else self.coefficient.lse[rows]
        z_loss = self.problem.options.z_loss
        if z_loss:
            lse = self.top[rows] + self._log_total(rows)
            of_square = 2 * z_loss * lse * self.sum_of_loss[rows]
            more = of_square if more is None else more + of_square
        return more

    def _others(self, rows: slice) -> tuple[Tensor, Tensor]:
        """(the exponentials of all but each target [R, K], of all [R, 1])."""
        rest, e_target = self.rest[rows], self.e_target[rows]
        if self.K == 1:
            return rest, rest + e_target
        distinct = e_target * self.first[rows]
        before = torch.zeros_like(distinct)  # sums on either side: total - own would lose the digits of a sure target
        before[:, 1:] = distinct[:, :-1].cumsum(1)
        after = torch.zeros_like(distinct)
        after[:, :-1] = distinct[:, 1:].flip(1).cumsum(1).flip(1)
        others = (rest + before + after).gather(1, self.stands_for[rows])
        return others, rest + distinct.sum(1, keepdim=True)

    def _log_total(self, rows: slice) -> Tensor:
        """lse above the largest logit [R, 1], exact too where a target is that logit and the others vanish."""
        others, total = self._others(rows)
        target_is_top = self.z_target[rows] == self.top[rows]
        if self.K == 1:
            return torch.where(target_is_top, others.log1p(), total.log())
        exact = torch.where(target_is_top, others.log1p(), -torch.inf).amax(1, keepdim=True)
        return torch.where(target_is_top.any(1, keepdim=True), exact, total.log())

    def _nll(self, rows: slice) -> Tensor:
        """-log p of each target [R, K]."""
        others, _ = self._others(rows)
        e_target = self.e_target[rows]
        from_logits = self._log_total(rows) - (self.z_target[rows] - self.top[rows])
        return torch.where(e_target > 1e-30, torch.log1p(others / e_target), from_logits)

    def _entropy(self, rows: slice) -> Tensor:
        """Of each row [R, 1]."""
        e_target = self.e_target[rows]
        if self.K > 1:
            e_target = e_target * self.first[rows]
        margin = (self.z_target[rows] - self.top[rows]).clamp(min=LEAST)
        moment = self.moment[rows] + (e_target * margin).sum(1, keepdim=True)
        return self._log_total(rows) - moment / self._others(rows)[1]
