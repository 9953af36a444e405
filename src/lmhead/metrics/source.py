"""Statistics for a metric: the statistics of a loss that was computed anyway, or logits."""

import torch
from torch import Tensor

from lmhead.errors import IGNORE_INDEX, ArgumentError, ArgumentTypeError
from lmhead.labels.labels_or_targets import Word, named, targets_from
from lmhead.labels.targets import Targets
from lmhead.losses.cross_entropy import cross_entropy
from lmhead.ops.problem import TokenStatistics


def statistics_from(
    source: TokenStatistics | Tensor,  # logits [..., V]
    by_position: tuple[object, ...],
    *,
    labels: Tensor | None,  # [...]
    targets: Tensor | Targets | None,  # [...]
    document: Tensor | None,  # [...]
    ignore_index: int = IGNORE_INDEX,
    ids: Word | None = None,
    owner: object,
) -> TokenStatistics:
    """The statistics themselves, or those of logits against `labels` or `targets`.

    Args:
        ids: what ids given by position are; None refuses them.
        owner: the metric, for messages.

    Raises:
        ArgumentError: ids beside statistics, which know theirs; or both words or neither beside logits.
        ArgumentTypeError: ids by position without `ids`, or a source of another kind.
    """
    if isinstance(source, TokenStatistics):
        if by_position or any(given is not None for given in (labels, targets, document)):
            raise ArgumentError("labels and targets must not be given beside TokenStatistics, which have been scored")
        return source
    if not isinstance(source, Tensor):
        raise ArgumentTypeError(f"source must be TokenStatistics or logits, got {type(source).__name__}")
    labels, targets = named(by_position, ids, labels=labels, targets=targets, owner=owner)
    chosen = targets_from(
        (),
        labels=labels,
        targets=targets,
        of=source,
        document=document,
        ignore_index=ignore_index,
    )
    with torch.no_grad():
        return cross_entropy(source, chosen.ids, ignore_index=chosen.ignore_index, reduction="sum", return_stats=True)[
            1
        ]
