"""Where a metric's numbers come from: the statistics of a loss that was computed anyway, or logits."""

import torch
from torch import Tensor

from lmhead.errors import IGNORE_INDEX, ArgumentError, ArgumentTypeError
from lmhead.labels.choice import targets_from
from lmhead.labels.targets import Targets
from lmhead.losses.cross_entropy import cross_entropy
from lmhead.ops.problem import TokenStatistics


def statistics_from(
    source: TokenStatistics | Tensor,  # logits [..., V]
    misplaced: tuple[object, ...],
    *,
    labels: Tensor | None,  # [...]
    targets: Tensor | Targets | None,  # [...]
    document: Tensor | None,  # [...]
    ignore_index: int = IGNORE_INDEX,
) -> TokenStatistics:
    """The statistics themselves, or those of logits against `labels` or `targets`.

    Raises:
        ArgumentError: ids beside statistics, which know theirs; or both words or neither beside logits.
        ArgumentTypeError: ids by position, or a source of another kind.
    """
    if isinstance(source, TokenStatistics):
        if misplaced or any(ids is not None for ids in (labels, targets, document)):
            raise ArgumentError("labels and targets must not be given beside TokenStatistics, which have been scored")
        return source
    if not isinstance(source, Tensor):
        raise ArgumentTypeError(f"source must be TokenStatistics or logits, got {type(source).__name__}")
    chosen = targets_from(
        misplaced,
        labels=labels,
        targets=targets,
        shape=source.shape[:-1],
        device=source.device,
        document=document,
        ignore_index=ignore_index,
    )
    with torch.no_grad():
        return cross_entropy(source, chosen.ids, ignore_index=chosen.ignore_index, reduction="sum", return_stats=True)[
            1
        ]
