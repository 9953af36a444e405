"""The definition: full logits in plain torch. The oracle of the tests, never the fast path."""

from dataclasses import replace

import torch
from torch import Tensor

from lmhead.ops.checks import require_targets_in_range
from lmhead.ops.problem import Problem, Solved, accumulation_dtype


def logits_of(problem: Problem) -> Tensor:
    """Logits [N, V] as Problem defines them, in float32 or wider."""
    narrow, wide = problem.compute_dtype, accumulation_dtype(problem.compute_dtype)
    logits = (problem.hidden.to(narrow) @ problem.weight.to(narrow).T).to(wide)
    if problem.adapter_hidden is not None and problem.adapter_weight is not None:
        logits = logits + (problem.adapter_hidden.to(narrow) @ problem.adapter_weight.to(narrow).T).to(wide)
    if problem.column_scale is not None:
        logits = logits * problem.column_scale.to(wide)
    if problem.bias is not None:
        logits = logits + problem.bias.to(wide)
    logits = logits * problem.logit_scale
    return logits if problem.softcap is None else problem.softcap * torch.tanh(logits / problem.softcap)


def run(problem: Problem, coefficient: Tensor | None) -> Solved:
    """The sum of coefficient [N, K] * loss, or each loss [N, K] where it is None, and the statistics."""
    scored, options = problem.scored, problem.options
    some = scored.any(1)
    targets = problem.targets.where(scored, 0)
    require_targets_in_range(problem.targets, problem.weight.shape[0], problem.ignore_index)
    logits = logits_of(replace(problem, hidden=problem.hidden.where(some[:, None], 0)))  # NaN there has no gradient
    lse, target_logit = logits.logsumexp(-1), logits.gather(-1, targets)
    nll = lse[:, None] - target_logit
    loss = nll
    if options.label_smoothing:  # off, it would be 0 * inf for a token that is masked
        smooth = lse - logits.mean(-1)
        loss = (1 - options.label_smoothing) * nll + options.label_smoothing * smooth[:, None]
    if options.z_loss:
        loss = loss + options.z_loss * lse[:, None] ** 2
    loss = loss.where(scored, 0)
    rows = {"nll": nll.where(scored, 0).detach(), "lse": lse.where(some, 0)}
    if "entropy" in problem.outputs:
        log_p = logits.log_softmax(-1)
        entropy = -(log_p.exp() * log_p.clamp(min=torch.finfo(log_p.dtype).min)).sum(-1)
        rows["entropy"] = entropy.where(some, 0)
    if "hit" in problem.outputs:
        rows["hit"] = (logits.argmax(-1, keepdim=True) == targets) & scored
    if "max_logprob" in problem.outputs:
        rows["max_logprob"] = logits.detach().log_softmax(-1).amax(-1).where(some, 0)
    if "rank" in problem.outputs:
        rows["rank"] = (logits[:, None, :] > target_logit[:, :, None]).sum(-1).where(scored, 0)
    if "top_ids" in problem.outputs:
        rows |= _top_tokens(logits.detach(), some, problem.outputs["top_ids"])
    return Solved(loss=loss if coefficient is None else (loss * coefficient.where(scored, 0)).sum(), rows=rows)


def _top_tokens(logits: Tensor, some: Tensor, k: int) -> dict[str, Tensor]:
    """The k most probable of each row [N, k], the first of equals first: a stable sort of all."""
    ids = logits.sort(dim=-1, descending=True, stable=True).indices[:, :k]
    logprobs = logits.log_softmax(-1).gather(-1, ids)
    return {"top_ids": ids.where(some[:, None], 0), "top_logprobs": logprobs.where(some[:, None], 0)}
