"""The rule by which drafted tokens are taken such that what comes out is distributed as the model says."""

import torch
from torch import Tensor


def accept(
    drafts: Tensor,  # [B, K]
    drafted_from: Tensor,  # [B, K, V]: q, which each draft was drawn from
    probabilities: Tensor,  # [B, K + 1, V]: p, of the model, behind each draft and before the first
    counts: Tensor,  # [B], how many of a row's drafts are looked at
    *,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """(how many of the drafts are taken [B], the token behind them [B]), whose joint distribution is the model's own.

    A draft d is taken with probability min(1, p(d) / q(d)); behind the first that is not, a token is drawn from
    max(p - q, 0) in proportion, and behind the last, where all are taken, from p.

    Source: Leviathan et al., "Fast Inference from Transformers via Speculative Decoding" (2023), algorithm 1.
    """
    B, K = drafts.shape
    chance = torch.rand(B, K, generator=generator)
    p = probabilities[:, :K].gather(-1, drafts[..., None])[..., 0]
    q = drafted_from.gather(-1, drafts[..., None])[..., 0]
    looked_at = torch.arange(K) < counts[:, None]
    taken = ((chance * q < p) & looked_at).cumprod(-1).sum(-1)

    row = torch.arange(B)
    behind = probabilities[row, taken].double()
    refused = taken < counts  # then the draft that stands there was not taken
    at = taken.clamp(max=max(K - 1, 0))
    rest = (behind - drafted_from[row, at].double()).clamp_(min=0.0) if K else behind
    drawn_from = torch.where((refused & (rest.sum(-1) > 0))[:, None], rest, behind)
    return taken, torch.multinomial(drawn_from, 1, generator=generator)[:, 0]
