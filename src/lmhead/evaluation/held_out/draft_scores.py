"""Draft scores: what each depth of multi-token prediction makes of held-out text, and how far its drafts are accepted.

    position                 i          i + 1      i + 2
    the main head chooses    m_{i+1}    m_{i+2}    m_{i+3}      the most probable token: what greedy decoding writes
    depth 1 of i drafts                 d_{i+2}                 accepted where it is m_{i+2}
    depth 2 of i drafts                            d_{i+3}      accepted where it is m_{i+3}, and depth 1's draft was

Everything comes from one pass over text that is there, with `top_k=1`. A forward of speculative decoding writes the
drafts that are accepted, and one token more: the length is 1 + a_1 + a_1 a_2 + .., of the depths' acceptances.

Not here: text that the model writes itself (decoded_drafts.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
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
    tokens: int  # scored at this depth


class DepthSums:
    """Adds up the statistics of batches [.., T], the main head's and each depth's."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self._nll = [PerplexityMetric() for _ in range(depth)]
        self._hits = [TokenAccuracyMetric() for _ in range(depth)]
        self._accepted = [0] * depth
        self._chains = 0

    def update(self, statistics: Sequence[TokenStatistics]) -> None:
        """Add a batch: of the main head, then of each depth, with `top_k=1`."""
        for metric, hits, of_depth in zip(self._nll, self._hits, statistics[1:], strict=True):
            metric.update(of_depth)
            hits.update(of_depth)
        accepted, whole = accepted_drafts(statistics)
        for k in range(len(self._accepted)):
            self._accepted[k] += int((whole & (accepted > k)).sum())
        self._chains += int(whole.sum())

    def scores(self) -> tuple[DepthScores, ...]:
        """Of each depth, the first first."""
        acceptance = _shares(self._chains, self._accepted)
        return tuple(
            DepthScores(
                nll=metric.mean_nll if metric.tokens else None,
                accuracy=hits.compute() if metric.tokens else None,
                acceptance=acceptance[k] if self._chains else None,
                tokens=metric.tokens,
            )
            for k, (metric, hits) in enumerate(zip(self._nll, self._hits, strict=True))
        )

    @property
    def accepted_length(self) -> float | None:
        """Tokens that a forward of greedy decoding writes, drafting from each position alike; None of no position."""
        return 1 + sum(self._accepted) / self._chains if self._chains else None


def _shares(chains: int, kept: Sequence[float]) -> list[float]:
    """Of each depth what is kept of what the depth before has kept, of the first of all; 0 where that is nothing."""
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


def _choice(statistics: TokenStatistics) -> Tensor:
    """int64 [.., T]: the most probable token of each position."""
    assert statistics.top_ids is not None, "asked for with top_k=1"
    return statistics.top_ids[..., 0]
