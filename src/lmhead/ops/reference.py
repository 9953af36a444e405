"""The definition: full logits in plain torch. The oracle of the tests, never the fast path."""

from dataclasses import replace

import torch
from torch import Tensor

from lmhead.ops.checks import require_targets_in_range
from lmhead.ops.problem import Problem, TokenStatistics, accumulation_dtype


def refusal(problem: Problem) -> str | None:
    """None: the definition runs everything, at the price of N x V logits."""
    return None


def logits_of(problem: Problem) -> Tensor:
    """Logits [N, V]: cap(logit_scale * (hidden @ weight.T + bias)), in float32 or wider."""
    wide = accumulation_dtype(problem.compute_dtype)
    product = problem.hidden.to(problem.compute_dtype) @ problem.weight.to(problem.compute_dtype).T
    logits = product.to(wide)
    if problem.bias is not None:
        logits = logits + problem.bias.to(wide)
    logits = logits * problem.logit_scale
    return logits if problem.softcap is None else problem.softcap * torch.tanh(logits / problem.softcap)


def run(problem: Problem, coefficient: Tensor | None) -> tuple[Tensor, TokenStatistics]:
    """(loss, statistics): the sum over rows of coefficient * loss, or each row's loss [N] where it is None."""
    scored = problem.targets != problem.ignore_index
    targets = problem.targets.where(scored, 0)
    if not torch.compiler.is_compiling():
        require_targets_in_range(problem.targets, problem.weight.shape[0], problem.ignore_index)
    logits = logits_of(replace(problem, hidden=problem.hidden.where(scored[:, None], 0)))  # NaN there has no gradient
    lse = logits.logsumexp(-1)
    nll = lse - logits.gather(-1, targets[:, None]).squeeze(-1)
    smooth = lse - logits.mean(-1)
    loss = (1 - problem.label_smoothing) * nll + problem.label_smoothing * smooth + problem.z_loss * lse**2
    loss = loss.where(scored, 0)
    with torch.no_grad():
        probability = logits.softmax(-1)
        entropy = torch.special.entr(probability).sum(-1)
        hit = (logits.argmax(-1) == targets) & scored
        statistics = TokenStatistics(
            nll=nll.where(scored, 0).detach(),
            lse=lse.where(scored, 0).detach(),
            entropy=entropy.where(scored, 0),
            hit=hit,
            scored=scored,
        )
    return (loss if coefficient is None else (loss * coefficient.where(scored, 0)).sum()), statistics
