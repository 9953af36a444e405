"""The divergence of two vocabulary-parallel heads, a chunk's rows at a time: each rank has some columns of each row.

    pass 1              each model's largest logit, and what the others' exponentials sum to
    all-reduce MAX      [2, n]   the largest logits
    all-reduce SUM      [5, n]   the sums below them; how many ranks have each; the teacher's logit at the student's
    pass 2              log p, log q: the columns' part of the divergence; of forward_kl the gradient p - q too
    all-reduce SUM      [3, n]   of the other kinds: the divergence, sum p r, sum p
    pass 3              of the other kinds: the gradient p (r - sum p r)

What the ranks sum keeps the digits that rows.py keeps: a row's largest logit stays out of its sum, in the one rank that
has it (of several with an equal one, in each, and they are counted), and r is taken relative to its value there, which
the log of the sums and the two logits give every rank. Each pass makes the logits anew from the chunk's products: what
stands between them and the logits is cheap beside the products, and a chunk in float32 would be twice the memory.
"""

from collections.abc import Collection, Iterator

import torch
from torch import Tensor

from lmhead.ops.divergence.problem import DivergenceProblem
from lmhead.ops.divergence.rows import (
    WORKING_BUFFERS,
    is_centred,
    log_m_by_p,
    log_ratio,
    of_kind,
    product,
    to_slope,
)
from lmhead.ops.problem import Problem
from lmhead.ops.products.logit_transform import LogitTransform
from lmhead.ops.sharded import collectives
from lmhead.ops.sharded.join import add_up_parts

_Block = tuple[slice, Tensor, Tensor, tuple[Tensor | None, ...], Tensor, Tensor]


class SharedRowDivergence:
    """A few rows at a time, as RowDivergence; the ranks of a group make the same calls."""

    def __init__(self, problem: DivergenceProblem, teacher: Problem, wanted: Collection[str]) -> None:
        self.problem, self.group = problem, problem.student.shard.group
        self.centred = is_centred(problem)
        self.of_student = LogitTransform(problem.student, wanted, differentiated=bool(wanted))
        self.of_teacher = LogitTransform(teacher, (), differentiated=False)

    @property
    def copies(self) -> int:
        """Buffers of a block's shape that a block needs at once."""
        return 2 + self.of_student.copies + WORKING_BUFFERS  # both models' logits: the products are read again

    def run(
        self,
        student: Tensor,  # [n, V of this rank] products of a chunk; becomes the gradient where there is a coefficient
        teacher: Tensor,  # [n, V of this rank] products
        coefficient: Tensor | None,  # [n, 1], times the student's logit_scale
        buffer: Tensor,  # [copies * block_rows, V of this rank]
    ) -> Tensor:
        """The divergence of each row [n]; of forward_kl this rank's part of it, which `finish` completes."""
        whole = self._softmaxes(student, teacher, buffer)
        parts = buffer.new_empty(3, student.shape[0])
        for rows, x, y, kept, d, scratch in self._blocks(student, teacher, buffer):
            whole.to_logs(x, y, rows)
            log_ratio(x, y, out=d)
            p, q = x.exp_(), y.exp_()
            parts[0, rows] = of_kind(self.problem, p, q, d, scratch)
            if self.centred:
                r = to_slope(self.problem, d).sub_(self._slope(whole.log_ratio_at_top(rows)))
                torch.sum(product(p, r, out=scratch), 1, out=parts[1, rows])
                torch.sum(p, 1, out=parts[2, rows])
            elif coefficient is not None:
                self._put(student[rows], p, coefficient[rows], kept)
        if self.centred:
            collectives.add_up(parts, self.group)
            if coefficient is not None:
                self._centre(student, teacher, coefficient, buffer, whole, (parts[1] / parts[2])[:, None])
        return parts[0]

    def finish(self, divergence: Tensor) -> None:
        """Make the divergences of all rows what they are of the whole vocabulary, in place."""
        if not self.centred:
            collectives.add_up(divergence, self.group)

    def _blocks(self, student: Tensor, teacher: Tensor, buffer: Tensor) -> Iterator[_Block]:
        """(rows, the logits of both, what the way back of the student's needs, two buffers)."""
        step = buffer.shape[0] // self.copies
        for start in range(0, student.shape[0], step):
            rows = slice(start, start + step)
            spare = [copy[: student[rows].shape[0]] for copy in torch.split(buffer, step)]
            x, y = spare.pop().copy_(student[rows]), spare.pop().copy_(teacher[rows])
            kept = self.of_student.forward(x, spare)
            self.of_teacher.forward(y, spare)
            d, scratch = spare
            yield rows, x, y, kept, d, scratch

    def _softmaxes(self, student: Tensor, teacher: Tensor, buffer: Tensor) -> "_Softmaxes":
        whole = _Softmaxes(student.shape[0], buffer)
        for rows, x, y, _, _, scratch in self._blocks(student, teacher, buffer):
            whole.read(x, y, rows, scratch)
        whole.join(self.problem.student)
        return whole

    def _centre(
        self,
        student: Tensor,
        teacher: Tensor,
        coefficient: Tensor,
        buffer: Tensor,
        whole: "_Softmaxes",
        mean: Tensor,  # [n, 1] of r - r at the largest p
    ) -> None:
        """Write the gradient p (r - sum p r) over the student's products."""
        for rows, x, y, kept, d, scratch in self._blocks(student, teacher, buffer):
            whole.to_logs(x, y, rows)
            r = self._slope(log_ratio(x, y, out=d))
            r.sub_(self._slope(whole.log_ratio_at_top(rows))).sub_(mean[rows])
            gradient = product(x.exp_(), r, out=scratch)
            self._put(student[rows], gradient, coefficient[rows], kept)

    def _put(self, out: Tensor, gradient: Tensor, coefficient: Tensor, kept: tuple[Tensor | None, ...]) -> None:
        self.of_student.backward(gradient.mul_(coefficient), kept)
        out.copy_(gradient)

    def _slope(self, d: Tensor) -> Tensor:
        """r of d = log p - log q, in place."""
        left = log_m_by_p(d, self.problem.beta) if self.problem.kind == "jensen_shannon" else d
        return to_slope(self.problem, left)


class _Softmaxes:
    """Of both models' rows [n]: what turns logits into log-probabilities of the whole vocabulary."""

    def __init__(self, n: int, like: Tensor) -> None:
        self.tops, self.rests = like.new_empty(2, n), like.new_empty(2, n)
        self.at_top = like.new_empty(n)  # the teacher's logit where the student's is the largest

    def read(self, x: Tensor, y: Tensor, rows: slice, scratch: Tensor) -> None:
        """Of some rows' logits [R, V of this rank]."""
        for model, logits in enumerate((x, y)):
            top, index = torch.max(logits, 1, keepdim=True)
            finite = top.clamp(min=torch.finfo(top.dtype).min)  # all masked here: -inf - -inf would be NaN
            torch.exp(torch.sub(logits, finite, out=scratch), out=scratch).scatter_(1, index, 0.0)
            self.tops[model, rows], self.rests[model, rows] = top[:, 0], scratch.sum(1)
            if model == 0:
                self.at_top[rows] = y.gather(1, index)[:, 0]

    def join(self, student: Problem) -> None:
        """Make them those of the whole vocabulary.

        Raises:
            ArgumentError: on all ranks, where their columns are not the whole vocabulary.
        """
        own = self.tops.clone()
        collectives.maximum(self.tops, student.shard.group)
        has_top = own == self.tops
        decay = (own.clamp(min=torch.finfo(own.dtype).min) - self.tops).exp()
        rests = self.rests * decay + decay.where(~has_top, 0.0)
        at_top = self.at_top.where(has_top[0], 0.0)
        sums = dict(enumerate([*rests, *has_top.to(rests.dtype), at_top]))
        add_up_parts(sums, student)
        of_student, of_teacher, with_top, with_teachers, at_top = sums.values()
        rests = torch.stack([of_student + (with_top - 1), of_teacher + (with_teachers - 1)])  # one is not summed
        self.log_totals = rests.log1p()
        self.at_top = at_top / with_top

    def to_logs(self, x: Tensor, y: Tensor, rows: slice) -> None:
        """Turn some rows' logits into log-probabilities, in place."""
        for model, logits in enumerate((x, y)):
            logits.sub_(self.tops[model, rows, None]).sub_(self.log_totals[model, rows, None])

    def log_ratio_at_top(self, rows: slice) -> Tensor:
        """log p - log q of the student's most probable token [R, 1], by the same steps as of any other."""
        x, y = self.tops[0, rows, None].clone(), self.at_top[rows, None].clone()
        self.to_logs(x, y, rows)
        return log_ratio(x, y, out=x)
