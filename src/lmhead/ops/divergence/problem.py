"""The divergence of a student from a teacher as data, and its definition with all logits."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from lmhead.ops.problem import Problem, Solved
from lmhead.ops.reference import logits_of

Kind = Literal["forward_kl", "reverse_kl", "jensen_shannon", "total_variation"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherLogits:
    """What a teacher's logits are made of (ops/problem.py): detached, at the student's positions."""

    hidden: Tensor  # [N, D']
    weight: Tensor  # [V, D']
    bias: Tensor | None  # [V]
    adapter_hidden: Tensor | None  # [N, R], as in Problem
    adapter_weight: Tensor | None  # [V, R]
    column_scale: Tensor | None  # [V]
    softcap: float | None
    logit_scale: float
    compute_dtype: torch.dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class DivergenceProblem:
    """N rows of two models, with p the student's and q the teacher's distribution. Everything is checked before.

        forward_kl      sum q (log q - log p)
        reverse_kl      sum p (log p - log q)
        jensen_shannon  beta * sum q (log q - log m) + (1 - beta) * sum p (log p - log m),  m = beta q + (1 - beta) p
        total_variation  sum |p - q| / 2

    The temperature is in the logit_scale and the softcap of both. Only the student's tensors are differentiated.
    """

    student: Problem  # its options are the default ones, its targets [N, 1] say only which rows are ignored
    teacher_logits: TeacherLogits
    kind: Kind
    beta: float  # jensen_shannon's
    what: ClassVar[str] = "divergence"  # is asked for

    @property
    def teacher(self) -> Problem:
        """The teacher's model, as the student's is given; its targets and budget are the student's."""
        of = self.teacher_logits
        return Problem(
            hidden=of.hidden,
            weight=of.weight,
            targets=self.student.targets,
            bias=of.bias,
            adapter_hidden=of.adapter_hidden,
            adapter_weight=of.adapter_weight,
            column_scale=of.column_scale,
            ignore_index=self.student.ignore_index,
            options=self.student.options,
            softcap=of.softcap,
            logit_scale=of.logit_scale,
            compute_dtype=of.compute_dtype,
            memory_budget=self.student.memory_budget,
            shard=self.student.shard,  # both heads are cut alike
        )

    @property
    def scored(self) -> Tensor:
        """bool [N, 1]: the row is not ignored."""
        return self.student.scored

    @property
    def dtype(self) -> torch.dtype:
        """Of the divergence, and of everything of two rows of logits: float32, float64 for a float64 student."""
        return self.student.dtype

    @property
    def differentiated(self) -> Problem:
        """Whose tensors get gradients."""
        return self.student


def all_logits(problem: DivergenceProblem, coefficient: Tensor | None) -> Solved:
    """The definition: the sum of coefficient [N, 1] * divergence, or each divergence; the oracle of the tests."""
    scored = problem.scored
    log_p, log_q = (
        logits_of(replace(model, hidden=model.hidden.where(scored, 0))).to(problem.dtype).log_softmax(-1)
        for model in (problem.student, problem.teacher)
    )
    divergence = torch.where(scored, _divergence(log_p, log_q, problem)[:, None], 0.0)
    loss = divergence if coefficient is None else (divergence * coefficient.where(scored, 0)).sum()
    return Solved(loss=loss, rows={})


def _divergence(log_p: Tensor, log_q: Tensor, problem: DivergenceProblem) -> Tensor:
    if problem.kind == "forward_kl":
        return _kl(log_q, log_p)
    if problem.kind == "reverse_kl":
        return _kl(log_p, log_q)
    if problem.kind == "total_variation":
        return (log_p.exp() - log_q.exp()).abs().sum(-1) / 2
    beta, least = problem.beta, torch.finfo(log_p.dtype).min / 2  # of -inf and -inf there is no mixture
    log_m = torch.logaddexp(log_q.clamp(min=least) + math.log(beta), log_p.clamp(min=least) + math.log1p(-beta))
    return beta * _kl(log_q, log_m) + (1 - beta) * _kl(log_p, log_m)


def _kl(log_a: Tensor, log_b: Tensor) -> Tensor:
    """KL(a || b) of each row [N]; where a is 0 there is no summand, whatever b is."""
    a = log_a.exp()
    return (a * torch.where(a > 0, log_a - log_b, 0.0)).sum(-1)
