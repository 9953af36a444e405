"""Which rows are worth multiplying: found on the device, with one wait, or with none.

Compaction waits once for two numbers, how many rows are scored and whether a target is out of range. In a training step
the host is ahead of the device, so what the wait costs is a pause of some launches at the start of the op. A stream
that is being captured into a graph cannot be waited for, and `triton_masked` does not: every row is multiplied.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lmhead.ops.checks import require_targets_in_range
from lmhead.ops.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRows:
    """The n rows that are multiplied."""

    n: int
    index: Tensor | None  # [n] int64; None: the first n, which are all
    scored: Tensor | None  # [N, 1] bool, where some of the n rows may be ignored; None: none of them is

    @staticmethod
    def of(problem: Problem, *, masked: bool) -> "ScoredRows":
        """Those with a target that is scored; or all, with a mask, where nothing may be waited for.

        Raises:
            ArgumentError: a target is neither in [0, V) nor ignore_index. Where nothing is waited for, the loss of its
                row is NaN instead.
        """
        targets, V = problem.targets, problem.vocab_size
        N = targets.shape[0]
        is_scored = problem.scored
        some = is_scored.any(1)
        if masked or _is_captured(targets.device):
            return ScoredRows(n=N, index=None, scored=some[:, None])
        wrong = (is_scored & ((targets < 0) | (targets >= V))).any()
        n, found = torch.stack([some.sum(), wrong.long()]).tolist()  # the one wait
        if found and not problem.shard.group:  # else once the ranks have met (joined_state.py): what one refuses all do
            require_targets_in_range(targets, V, problem.ignore_index)
        if n == N:
            return ScoredRows(n=N, index=None, scored=None)
        return ScoredRows(n=n, index=torch.argsort((~some).byte(), stable=True)[:n], scored=None)

    def picked(self, chunk: slice) -> slice | Tensor:
        """The places among all N rows of some of the n."""
        return chunk if self.index is None else self.index[chunk]

    def without_ignored(self, states: list[Tensor], chunk: slice) -> list[Tensor]:
        """A chunk's hidden states with 0 where a row is ignored: it may hold NaN, and 0 * NaN would spread."""
        if self.scored is None:
            return states
        return [state.where(self.scored[chunk], 0) for state in states]


def _is_captured(device: torch.device) -> bool:
    """Whether a graph is being captured, which waiting would break."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()
