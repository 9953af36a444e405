"""Two chunks of logits, a student's and a teacher's: each row's divergence, and its gradient over the student's.

With p and q the two distributions and d = log p - log q, the derivatives by the student's logits are

    forward_kl      p - q
    reverse_kl      p (d - sum p d)
    jensen_shannon  (1 - beta) p (log(p / m) - sum p log(p / m))
    total_variation p (s - sum p s),  s = sign(d) / 2

Two close distributions have a divergence of second order in d, but summands of first order: summed as the formulas are
written, rounding drowns them. So sum p - sum q, which is 0, is taken into the sums of the two KL:

    forward_kl  sum (p - q) - q d        reverse_kl  sum p d - (p - q)

Each summand is of second order then, never negative, and blind to a common error of d (of either log of summed
exponentials). p - q is not subtracted either: it is the larger one times 1 - exp(-|d|), signed as d. The summands of
jensen_shannon need no such care once log m is taken relative to p or q, by log1p. What a sharp distribution leaves to
all but its largest token keeps its digits too: that token's exponential, 1, stays out of the sum.

Measured (float32, 64 rows, V = 5000, logits of a standard deviation of 2, models that differ by 1e-4): relative error
of a KL of 1.9e-8 is 2e-5, plain torch's 0.9. A beta near 0 or 1 costs
jensen_shannon a relative error of eps / beta, or eps / (1 - beta), where one of the probabilities vanishes.
"""

import math
from collections.abc import Collection

import torch
from torch import Tensor

from lmhead.ops.divergence.problem import DivergenceProblem
from lmhead.ops.problem import Problem
from lmhead.ops.products.logit_transform import LogitTransform

WORKING_BUFFERS = 2  # of a block's shape beside the two of logits: for log p - log q, and scratch
_FAR = 80.0  # nats between p and q beyond which their mixture is the larger one alone, in float64 too


class RowDivergence:
    """A few rows at a time, in float32 (float64), in the cache."""

    def __init__(self, problem: DivergenceProblem, teacher: Problem, wanted: Collection[str]) -> None:
        self.problem, self.teacher = problem, teacher
        self.of_student = LogitTransform(problem.student, wanted, differentiated=bool(wanted))
        self.of_teacher = LogitTransform(teacher, (), differentiated=False)

    @property
    def copies(self) -> int:
        """Buffers of a block's shape that a block needs at once."""
        models = (self.problem.student, self.teacher)
        widened = sum(model.compute_dtype != self.problem.dtype for model in models)
        return widened + self.of_student.copies + WORKING_BUFFERS

    def run(
        self,
        student: Tensor,  # [n, V] products of a chunk; becomes the gradient where there is a coefficient
        teacher: Tensor,  # [n, V] products; becomes scratch
        coefficient: Tensor | None,  # [n, 1], times the student's logit_scale
        buffer: Tensor,  # [copies * block_rows, V]
    ) -> Tensor:
        """The divergence of each row [n]."""
        step = buffer.shape[0] // self.copies
        divergence = buffer.new_empty(student.shape[0])
        for start in range(0, student.shape[0], step):
            rows = slice(start, start + step)
            source = student[rows]
            spare = [copy[: source.shape[0]] for copy in torch.split(buffer, step)]
            x, y = (_widened(products, spare) for products in (source, teacher[rows]))
            divergence[rows] = self._block(x, y, spare, None if coefficient is None else coefficient[rows])
            if x is not source and coefficient is not None:
                source.copy_(x)
        return divergence

    def _block(self, x: Tensor, y: Tensor, spare: list[Tensor], coefficient: Tensor | None) -> Tensor:
        """The divergence of each row [R]; products x [R, V] become the gradient, y [R, V] scratch."""
        kept = self.of_student.forward(x, spare)
        self.of_teacher.forward(y, spare)
        d, scratch = spare
        top = _to_log_softmax(x, scratch)
        _to_log_softmax(y, scratch)
        log_ratio(x, y, out=d)
        divergence = of_kind(self.problem, x.exp_(), y.exp_(), d, scratch)
        if coefficient is not None:
            if is_centred(self.problem):
                _to_centred(x, to_slope(self.problem, d), scratch, top)
            self.of_student.backward(x.mul_(coefficient), kept)
        return divergence

    def finish(self, divergence: Tensor) -> None:
        """Make the divergences of all rows what they are of the whole vocabulary, in place: here they are."""


def _widened(products: Tensor, spare: list[Tensor]) -> Tensor:
    return products if products.dtype == spare[0].dtype else spare.pop().copy_(products)


def _to_log_softmax(x: Tensor, scratch: Tensor) -> Tensor:
    """Turn logits x [R, V] into log-probabilities, in place; the index [R, 1] of the largest comes back.

    The largest is -log1p(the others), exact near 0.
    """
    top, index = torch.max(x, 1, keepdim=True)
    torch.exp(x.sub_(top), out=scratch).scatter_(1, index, 0.0)
    x.sub_(scratch.sum(1, keepdim=True).log1p_())
    return index


def log_ratio(x: Tensor, y: Tensor, *, out: Tensor) -> Tensor:
    """log p - log q from both, 0 where both are masked."""
    return torch.sub(x, y, out=out).nan_to_num_(nan=0.0, posinf=math.inf, neginf=-math.inf)


def is_centred(problem: DivergenceProblem) -> bool:
    """Whether the gradient is p (r - sum p r), `to_slope` makes r; else p - q."""
    return problem.kind != "forward_kl"


def of_kind(problem: DivergenceProblem, p: Tensor, q: Tensor, d: Tensor, scratch: Tensor) -> Tensor:
    """The divergence [R] of some columns p, q, d = log p - log q [R, V]: the sum over them.

    What is left: p, or of forward_kl p - q; d, or of jensen_shannon log m - log p; and scratch. A NaN of either model
    is not lost in d, where it became 0: p and q have it too, and both are in every sum.
    """
    if problem.kind == "forward_kl":
        return _forward_kl(p, q, d, scratch)
    if problem.kind == "reverse_kl":
        return _reverse_kl(p, q, d, scratch)
    if problem.kind == "total_variation":
        return _total_variation(p, q, d, scratch)
    return _jensen_shannon(p, q, d, scratch, problem.beta)


def to_slope(problem: DivergenceProblem, left: Tensor) -> Tensor:
    """What `of_kind` left of d as r: p (r - sum p r) is the gradient; in place."""
    if problem.kind == "total_variation":
        return left.sign_().mul_(0.5)
    return left.mul_(problem.beta - 1) if problem.kind == "jensen_shannon" else left


def _forward_kl(p: Tensor, q: Tensor, d: Tensor, scratch: Tensor) -> Tensor:
    torch.maximum(p, q, out=p)
    difference = _difference(p, d, scratch, out=p)
    q_d = product(q, d, out=q)
    return torch.sub(difference, q_d, out=scratch).sum(1)


def _reverse_kl(p: Tensor, q: Tensor, d: Tensor, scratch: Tensor) -> Tensor:
    torch.maximum(p, q, out=q)
    difference = _difference(q, d, scratch, out=scratch)
    p_d = product(p, d, out=q)
    return torch.sub(p_d, difference, out=scratch).sum(1)


def _jensen_shannon(p: Tensor, q: Tensor, d: Tensor, scratch: Tensor, beta: float) -> Tensor:
    d.clamp_(-_FAR, _FAR)
    of_teacher = q.mul_(torch.expm1(d, out=scratch).mul_(1 - beta).log1p_())  # q log(m / q)
    of_student = torch.mul(p, log_m_by_p(d, beta), out=scratch)
    return of_teacher.mul_(-beta).sub_(of_student, alpha=1 - beta).sum(1)


def log_m_by_p(d: Tensor, beta: float) -> Tensor:
    """log m - log p of the mixture, from log p - log q, in place."""
    return d.clamp_(-_FAR, _FAR).neg_().expm1_().mul_(beta).log1p_()


def _total_variation(p: Tensor, q: Tensor, d: Tensor, scratch: Tensor) -> Tensor:
    torch.maximum(p, q, out=q)
    return _difference(q, d, scratch, out=scratch).abs_().sum(1).mul_(0.5)


def _to_centred(p: Tensor, r: Tensor, scratch: Tensor, top: Tensor) -> None:
    """Turn p into p (r - sum p r), in place; r becomes scratch.

    r is taken relative to its value at the largest p first: of a sure student what is left there is a sum over the
    others, not a difference that rounds to 0. (The p of a row share an error, of the log of their sum: divided by their
    sum, the mean does not.)
    """
    r.sub_(r.gather(1, top))
    mean = product(p, r, out=scratch).sum(1, keepdim=True).div_(p.sum(1, keepdim=True))
    product(p, r.sub_(mean), out=p)


def _difference(larger: Tensor, d: Tensor, scratch: Tensor, *, out: Tensor) -> Tensor:
    """p - q, from the larger of them and d = log p - log q; 0 where p and q are the same."""
    torch.copysign(d, -1.0, out=scratch).expm1_().mul_(larger)
    return torch.copysign(scratch, d, out=out)


def product(probability: Tensor, d: Tensor, *, out: Tensor) -> Tensor:
    """probability * d, 0 where the probability is: of a masked token d may be infinite."""
    return torch.mul(probability, d, out=out).nan_to_num_(nan=0.0, posinf=math.inf, neginf=-math.inf)
