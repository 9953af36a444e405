"""linear_divergence: how far a student is from a teacher, from the hidden states of both, without either's logits."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from lmhead.errors import IGNORE_INDEX, require
from lmhead.ops.adapter import Adapters, adapted
from lmhead.ops.autograd import solve
from lmhead.ops.checks import (
    check_choices,
    check_head,
    check_head_options,
    check_tensor,
    product_dtype,
    require_numbers,
)
from lmhead.ops.divergence.problem import KINDS, DivergenceProblem, Kind, TeacherLogits
from lmhead.ops.prepare import check_cut_adapter, prepare
from lmhead.ops.reduction import Reduction, check_reduction, weight_of_each
from lmhead.ops.sharded.own_rows import OwnRows
from lmhead.ops.sharded.vocabulary_shard import VocabularyShard

_BETA = 0.5  # jensen_shannon's, where none is given


def linear_divergence(
    hidden: Tensor,  # [..., D]
    weight: Tensor,  # [V, D]
    teacher_hidden: Tensor,  # [..., D']
    teacher_weight: Tensor,  # [V, D']
    *,
    kind: Kind = "forward_kl",
    beta: float | None = None,
    token_weight: Tensor | None = None,  # [...]
    bias: Tensor | None = None,  # [V]
    teacher_bias: Tensor | None = None,  # [V]
    adapter: Adapters = None,
    teacher_adapter: Adapters = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    teacher_softcap: float | None = None,
    teacher_logit_scale: float = 1.0,
    reduction: Reduction = "mean",
    divisor: float | Tensor | None = None,
    memory_budget: int | None = None,
    backend: str | None = None,
    shard: VocabularyShard | None = None,
) -> Tensor:
    """The divergence of a student's next-token distribution from a teacher's, in nats, without either's logits.

    Equal, with cap(x) = softcap * tanh(x / softcap) and each model's own softcap and logit_scale, to

        log_p = (cap(logit_scale * (hidden @ weight.T + bias)) / temperature).log_softmax(-1)      # the student
        log_q = (the same of the teacher's / temperature).log_softmax(-1).detach()
        p, q  = log_p.exp(), log_q.exp()

        forward_kl      (q * (log_q - log_p)).sum(-1)                        # KL(teacher || student)
        reverse_kl      (p * (log_p - log_q)).sum(-1)                        # KL(student || teacher)
        jensen_shannon  beta * KL(q || m) + (1 - beta) * KL(p || m)          # m = beta * q + (1 - beta) * p
        total_variation (p - q).abs().sum(-1) / 2                            # 1 - how often q accepts a draft of p

        mean = (divergence * token_weight).sum() / (divisor or token_weight.sum())

    Both models predict at the same positions, so nothing is shifted. The student's tensors get gradients, the
    teacher's never do: they are detached.

    There is no factor temperature ** 2 in it. Gradients shrink as 1 / temperature ** 2, and Hinton et al. multiply a
    loss of soft targets by temperature ** 2 where it is added to one of hard targets: so does who calls this.

    Args:
        beta: the teacher's part of m, in (0, 1), for jensen_shannon only; 0.5 where it is None. Near 0 the divergence
            is beta * KL(teacher || student), near 1 it is (1 - beta) * KL(student || teacher).
        token_weight: float, finite and >= 0; rows of weight 0 are ignored: they cost nothing and may hold anything in
            either model's states, NaN too. Of a mask: `mask.float()`.
        adapter: the student's, LoRA or DoRA; one or several `LowRankAdapter`. teacher_adapter: the teacher's.
        temperature: of both models.
        teacher_softcap: the teacher's own, off where it is None, whatever the student's is; teacher_logit_scale too.
        divisor: what the sum is divided by where this batch is a part of something larger. Only with "mean".
        memory_budget: bytes beyond the gradients; two chunks of logits share it. See `linear_cross_entropy`.
        backend: a name in BACKENDS; "chunked", or "reference", which holds the logits of both, take divergences.
        shard: where `weight` and `teacher_weight` are this rank's rows of two heads that are cut over ranks alike; both
            hidden states and the token weights are then the same on all ranks of the group, unless it has `own_rows`.

    Returns:
        A scalar, or with reduction="none" [...]; float32, float64 for a float64 student. Nothing scored gives a
        differentiable 0. A token that both models mask (a bias of -inf) counts nothing; one that only the student
        masks makes forward_kl infinite, one that only the teacher masks reverse_kl.

    Raises:
        ArgumentError: a shape, a dtype or an option breaks its rule.
        ArgumentTypeError: an argument is of the wrong kind.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> teacher_hidden, teacher_weight = torch.randn(2, 3, 8), torch.randn(16, 8)
        >>> linear_divergence(teacher_hidden, teacher_weight, teacher_hidden, teacher_weight).item()
        0.0
        >>> uniform = linear_divergence(torch.zeros(2, 3, 4), torch.zeros(16, 4), teacher_hidden, torch.zeros(16, 8))
        >>> uniform.item()
        0.0

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network" (2015); Agarwal et al., "On-Policy
    Distillation of Language Models" (2024), whose generalized Jensen-Shannon divergence this is; Leviathan et al.,
    "Fast Inference from Transformers via Speculative Decoding" (2023), section 3.3: what accepts a draft.
    """
    check_choices(IGNORE_INDEX, backend)
    check_reduction(reduction, divisor)
    beta = _beta(kind, beta)
    _check_models(hidden, weight, bias, teacher_hidden, teacher_weight, teacher_bias)
    _check_numbers(temperature, softcap, logit_scale, teacher_softcap, teacher_logit_scale, memory_budget)
    given = prepare(
        hidden,
        weight,
        hidden.new_zeros(hidden.shape[:-1], dtype=torch.int64),  # nobody's targets: they tell which rows are ignored
        bias=bias,
        adapter=adapter,
        ignore_index=IGNORE_INDEX,
        softcap=_tempered(softcap, temperature),
        logit_scale=logit_scale / temperature,
        memory_budget=memory_budget,
        shard=shard,
        weigh=lambda ids, dtype: weight_of_each(
            ids, hidden.shape[:-1], weight.shape[0], token_weight, None, dtype=dtype, device=ids.device
        ),
    )
    if shard is not None:
        check_cut_adapter(teacher_adapter, whose="teacher_")
    compute_dtype = product_dtype(teacher_hidden, teacher_weight, whose="teacher_")
    states, scored = teacher_hidden.detach().reshape(-1, teacher_hidden.shape[-1]), given.problem.scored[:, 0]
    with torch.no_grad():
        of_adapter = adapted(teacher_adapter, states, teacher_weight.detach(), scored, compute_dtype)
    teacher = TeacherLogits(
        hidden=states,
        weight=teacher_weight.detach(),
        bias=None if teacher_bias is None else teacher_bias.detach(),
        adapter_hidden=of_adapter.hidden,
        adapter_weight=None if of_adapter.weight is None else of_adapter.weight.detach(),
        column_scale=of_adapter.column_scale,
        softcap=_tempered(teacher_softcap, temperature),
        logit_scale=teacher_logit_scale / temperature,
        compute_dtype=compute_dtype,
    )
    problem = DivergenceProblem(student=given.problem, teacher_logits=teacher, kind=kind, beta=beta)
    coefficient = given.coefficient(reduction, divisor)
    if shard is not None and shard.own_rows:
        rows = OwnRows.of(states.shape[0], shard.group, states.device)
        problem, coefficient = _of_all_ranks(problem, rows), rows.coefficient(coefficient)
    solved = solve(problem, coefficient, backend)
    return given.loss(solved, reduction)


def _of_all_ranks(own: DivergenceProblem, rows: OwnRows) -> DivergenceProblem:
    of = own.teacher_logits
    first = of.adapter_hidden
    teacher = replace(of, hidden=rows.all(of.hidden), adapter_hidden=None if first is None else rows.all(first))
    return replace(own, student=rows.problem(own.student), teacher_logits=teacher)


def _beta(kind: str, beta: float | None) -> float:
    known = isinstance(kind, str) and kind in KINDS
    require(known, "kind", f"be one of {', '.join(KINDS)}", repr(kind))
    if beta is None:
        return _BETA
    require_numbers(beta=beta)
    rule = 'be given with kind="jensen_shannon" only'
    require(kind == "jensen_shannon", "beta", rule, f"kind={kind!r}", "leave it out")
    require(
        0.0 < beta < 1.0, "beta", "be in (0, 1)", beta, 'at the ends it is 0: take kind="forward_kl" or "reverse_kl"'
    )
    return beta


def _check_models(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    teacher_bias: Tensor | None,
) -> None:
    """Each model's tensors fit together, and the two score the same tokens at the same positions."""
    check_head(hidden, weight, bias)
    check_tensor("teacher_hidden", teacher_hidden, device=hidden.device)
    check_head(teacher_hidden, teacher_weight, teacher_bias, whose="teacher_")
    leading = hidden.shape[:-1]
    require(
        teacher_hidden.shape[:-1] == leading,
        "teacher_hidden",
        f"have hidden's leading dimensions {tuple(leading)}",
        tuple(teacher_hidden.shape),
    )
    V, of_teacher = weight.shape[0], teacher_weight.shape[0]
    require(
        of_teacher == V,
        "weight and teacher_weight",
        "be of one vocabulary",
        f"V = {V} and {of_teacher}",
        f"of one tokenizer, slice the larger head (weight[:{min(V, of_teacher)}]) or pad the smaller one, bias -inf",
    )


def _check_numbers(
    temperature: float,
    softcap: float | None,
    logit_scale: float,
    teacher_softcap: float | None,
    teacher_logit_scale: float,
    memory_budget: int | None,
) -> None:
    require_numbers(temperature=temperature)
    require(0.0 < temperature < math.inf, "temperature", "be finite and > 0", temperature)
    check_head_options(softcap, logit_scale, memory_budget)
    check_head_options(teacher_softcap, teacher_logit_scale, None, whose="teacher_")


def _tempered(softcap: float | None, temperature: float) -> float | None:
    """cap(x) / temperature is the cap of x / temperature with this softcap."""
    return None if softcap is None else softcap / temperature
