"""Draft scores: what each depth of multi-token prediction makes of held-out text, and how far its drafts are accepted.

    position                 i          i + 1      i + 2
    the main head chooses    m_{i+1}    m_{i+2}    m_{i+3}      the most probable token: what greedy decoding writes
    depth 1 of i drafts                 d_{i+2}                 accepted where it is m_{i+2}
    depth 2 of i drafts                            d_{i+3}      accepted where it is m_{i+3}, and depth 1's draft was

Speculative sampling accepts a draft x with min(1, p(x) / q(x)), p the main head's and q the depth's distribution. A
token t of the text is written with p(t), and comes from an accepted draft with q(t) min(1, p(t) / q(t)): that is its
share min(1, q(t) / p(t)), which needs the nll of both alone. Over text that the model sampled the mean of it is the sum
of min(p, q), and its products along the depths are how often all of them are accepted, exactly.

Everything comes from one pass over text that is there, with `top_k=1`. A forward of speculative decoding writes the
drafts that are accepted, and one token more: the length is 1 + a_1 + a_1 a_2 + .., of the depths' acceptances.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lmhead.metrics.accuracy import TokenAccuracyMetric
from lmhead.metrics.perplexity import PerplexityMetric
from lmhead.ops.problem import TokenStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthScores:
    """What one depth makes of text; None where nothing was scored."""

    nll: float | None  # nats a token, of the true token 1 + k ahead
    accuracy: float | None  # share of these that are the depth's most probable token
    acceptance: float | None  # share of the drafts that the main head would choose, where it would choose all before
    sampled_acceptance: float | None  # the same of sampling at temperature 1: how probably such a draft is kept
    tokens: int  # scored at this depth


class DepthSums:
    """Adds up the statistics of batches [.., T], the main head's and each depth's."""

    def __init__(self, depth: int) -> None:
        self._nll = [PerplexityMetric() for _ in range(depth)]
        self._hits = [TokenAccuracyMetric() for _ in range(depth)]
        self._accepted = [0] * depth
        self._sampled = [0.0] * depth
        self._chains = 0

    def update(self, statistics: Sequence[TokenStatistics]) -> None:
        """Add a batch: of the main head, then of each depth, with `top_k=1`."""
        for metric, hits, of_depth in zip(self._nll, self._hits, statistics[1:], strict=True):
            metric.update(of_depth)
            hits.update(of_depth)
        accepted, whole = accepted_drafts(statistics)
        for k, kept in enumerate(_kept_in_sampling(statistics)):
            self._accepted[k] += int((whole & (accepted > k)).sum())
            self._sampled[k] += float(kept.where(whole.cpu(), 0.0).sum())
        self._chains += int(whole.sum())

    def scores(self) -> tuple[DepthScores, ...]:
        """Of each depth, the first first."""
        greedy, sampled = (_shares(self._chains, kept) for kept in (self._accepted, self._sampled))
        return tuple(
            DepthScores(
                nll=metric.mean_nll if metric.tokens else None,
                accuracy=hits.compute() if metric.tokens else None,
                acceptance=greedy[k] if self._chains else None,
                sampled_acceptance=sampled[k] if self._chains else None,
                tokens=metric.tokens,
            )
            for k, (metric, hits) in enumerate(zip(self._nll, self._hits, strict=True))
        )

    @property
    def accepted_length(self) -> float | None:
        """Tokens that a forward of greedy decoding writes, drafting from each position alike; None of no position."""
        return 1 + sum(self._accepted) / self._chains if self._chains else None

    @property
    def sampled_length(self) -> float | None:
        """The same of sampling at temperature 1."""
        return 1 + sum(self._sampled) / self._chains if self._chains else None


def _shares(chains: int, kept: Sequence[float]) -> list[float]:
    """Of each depth what is kept of what is kept of the depth before; 0 where that is nothing."""
    return [each / of if of else 0.0 for each, of in zip(kept, [chains, *kept], strict=False)]


def accepted_drafts(statistics: Sequence[TokenStatistics]) -> tuple[Tensor, Tensor]:
    """(drafts in a row that are the main head's choices int64 [.., T], whether every depth could draft bool [.., T]).

    Args:
        statistics: of the main head [.., T], then of each depth k [.., T - k] or [.., T], with `top_k=1`.
    """
    main, chosen = statistics[0], _choice(statistics[0])
    T = chosen.shape[-1]
    running, whole = main.scored.clone(), main.scored.clone()
    accepted = torch.zeros_like(chosen)
    for k, of_depth in enumerate(statistics[1:], 1):
        length = max(T - k, 0)
        there = of_depth.scored[..., :length] & main.scored[..., k:]
        whole[..., :length] &= there
        running[..., :length] &= there & (_choice(of_depth)[..., :length] == chosen[..., k:])
        whole[..., length:] = running[..., length:] = False
        accepted += running
    return accepted, whole


def _kept_in_sampling(statistics: Sequence[TokenStatistics]) -> list[Tensor]:
    """Of each depth float [.., T]: how probably its draft is kept, and all before it; of use where all could draft."""
    main, kept = statistics[0].nll.cpu().double(), list[Tensor]()
    running, T = torch.ones_like(main), main.shape[-1]
    for k, of_depth in enumerate(statistics[1:], 1):
        length = max(T - k, 0)
        ratio = (main[..., k:] - of_depth.nll.cpu().double()[..., :length]).clamp(max=0).exp()  # min(1, q / p)
        running = running * F.pad(ratio, (0, T - length))
        kept.append(running)
    return kept


def _choice(statistics: TokenStatistics) -> Tensor:
    """int64 [.., T]: the most probable token of each position."""
    assert statistics.top_ids is not None, "asked for with top_k=1"
    return statistics.top_ids[..., 0]
