"""Exact match: how many answers a model has right to the last token, all of its tokens the most probable ones."""

from lmhead.ops.problem import TokenStatistics


class ExactAnswers:
    """Counts answers, which are runs of scored positions in rows [B, T], and those of them without a miss.

    Each token is judged after the true ones before it. An answer without a miss is what greedy decoding writes.

    Example:
        >>> import torch
        >>> from lmhead.losses.cross_entropy import cross_entropy
        >>> logits = torch.eye(4)[torch.tensor([[0, 1, 0, 2, 3]])]
        >>> targets = torch.tensor([[0, 1, -100, 2, 2]])  # two answers, of which the second ends otherwise
        >>> answers = ExactAnswers()
        >>> answers.update(cross_entropy(logits, targets, return_stats=True)[1])
        >>> answers.exact, answers.count
        (1, 2)
    """

    def __init__(self) -> None:
        self.count = 0
        self.exact = 0

    def update(self, statistics: TokenStatistics) -> None:
        """Add a batch of rows."""
        scored, missed = statistics.scored.cpu(), (statistics.scored & ~statistics.hit).cpu()
        begins = scored.clone()
        begins[:, 1:] &= ~scored[:, :-1]
        number = begins.flatten().cumsum(0)  # of the answer that each position belongs to, from 1
        self.count += int(begins.sum())
        self.exact += int(begins.sum()) - len(set(number[missed.flatten()].tolist()))
