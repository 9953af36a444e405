"""token_logprobs: what a policy says of the tokens that were taken, differentiable, without logits."""

from dataclasses import dataclass

from torch import Tensor

from lmhead.errors import IGNORE_INDEX, require
from lmhead.ops.adapter import Adapters
from lmhead.ops.autograd import solve
from lmhead.ops.checks import check_choices, require_numbers
from lmhead.ops.prepare import prepare
from lmhead.ops.problem import COME_FOR_NOTHING
from lmhead.ops.sharded.vocabulary_shard import VocabularyShard


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprobs:
    """Of each target, in the targets' shape, differentiable, in nats; ignored positions hold 0."""

    logprobs: Tensor  # log p(target)
    lse: Tensor  # log of the summed exponentials of the logits (after the temperature)
    entropy: Tensor | None  # of the predicted distribution; None where it was not asked for


def token_logprobs(
    hidden: Tensor,  # [..., D]
    weight: Tensor,  # [V, D]
    targets: Tensor,  # [...], or [..., K]
    *,
    bias: Tensor | None = None,  # [V]
    adapter: Adapters = None,
    temperature: float = 1.0,
    entropy: bool = False,
    ignore_index: int = IGNORE_INDEX,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    memory_budget: int | None = None,
    backend: str | None = None,
    shard: VocabularyShard | None = None,
) -> TokenLogprobs:
    """The log-probability of each target in nats, its row's lse and, where asked for, entropy; all differentiable.

    Equal to

        logits  = cap(logit_scale * (hidden @ weight.T + bias)) / temperature
        lse     = logits.logsumexp(-1)
        logprob = logits[target] - lse
        entropy = -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)

    without ever holding the logits: the backward makes them again, chunk by chunk (8NDV flops in all). For policy
    gradients (GRPO, PPO), distillation from a few tokens (K targets for a row) and scoring; under `torch.no_grad()` it
    is one product. `linear_cross_entropy` is cheaper where all that is differentiated is a weighted sum.

    Targets are already shifted: `targets[t]` is the token that was taken from `hidden[t]`.

    Args:
        adapter: LoRA or DoRA on the head; one or several `LowRankAdapter`.
        temperature: that the tokens were drawn at.
        entropy: also of each row, differentiable.
        memory_budget: bytes beyond the gradients; see `linear_cross_entropy`.
        backend: a name in BACKENDS; by default the first that takes the problem.
        shard: where `weight` is this rank's rows of a head that is cut over ranks by its vocabulary.

    Raises:
        ArgumentError: a shape, a dtype, an option or a target breaks its rule.
        ArgumentTypeError: an argument is of the wrong kind.

    Example:
        >>> import torch
        >>> out = token_logprobs(torch.zeros(2, 8), torch.zeros(16, 8), torch.tensor([3, 5]), entropy=True)
        >>> out.logprobs.tolist(), out.entropy.tolist()  # -log 16, log 16
        ([-2.7725887298583984, -2.7725887298583984], [2.7725887298583984, 2.7725887298583984])
    """
    require_numbers(temperature=temperature, logit_scale=logit_scale, softcap=1 if softcap is None else softcap)
    check_choices(ignore_index, backend, entropy=entropy)
    require(1e-6 <= temperature <= 1e6, "temperature", "be in [1e-6, 1e6]", temperature, "argmax is no distribution")
    given = prepare(
        hidden,
        weight,
        targets,
        bias=bias,
        adapter=adapter,
        ignore_index=ignore_index,
        softcap=None if softcap is None else softcap / temperature,  # cap(x) / temperature, as a cap of x / temperature
        logit_scale=logit_scale / temperature,
        memory_budget=memory_budget,
        outputs={**COME_FOR_NOTHING, "entropy": 1} if entropy else COME_FOR_NOTHING,
        shard=shard,
    )
    whole = shard is None or not shard.own_rows
    require(whole, "shard", "be without own_rows: each token's log-probability is not averaged over ranks", "with them")
    solved = solve(given.problem, None, backend)
    return TokenLogprobs(
        logprobs=-given.each(solved.loss),
        lse=given.each(solved.rows["lse"]),
        entropy=given.each(solved.rows["entropy"]) if entropy else None,
    )
