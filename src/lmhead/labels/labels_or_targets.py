"""`labels` or `targets`: the choice that every loss and metric leaves to its caller, made in one place.

Nothing guesses whether ids were shifted: exactly one of the two words is given, by keyword; or it was said once, when
a loss or a metric was made (`ids="targets"`), and then ids may come by position.
"""

from typing import Literal

import torch
from torch import Tensor

from lmhead.errors import IGNORE_INDEX, ArgumentError, ArgumentTypeError, exactly_one, require, require_choice
from lmhead.labels.targets import Targets, check_like_ids

Word = Literal["labels", "targets"]

_BY_POSITION = (
    "ids must be given by keyword, labels=... or targets=..., got them by position: "
    "labels[t] is the token AT t and is shifted here; targets[t] is the token to predict FROM t and is not"
)


def check_word(ids: Word | None) -> None:
    """Refuse what is none of the two words, nor None.

    Raises:
        ArgumentError: it is another value.
    """
    if ids is not None:
        require_choice("ids", ids, ("labels", "targets"))


def named(
    by_position: tuple[object, ...],
    ids: Word | None,
    *,
    labels: Tensor | None,
    targets: Tensor | Targets | None,
    owner: object,
) -> tuple[Tensor | None, Tensor | Targets | None]:
    """(labels, targets) as given by keyword, or by position to an owner that was made with `ids`.

    Raises:
        ArgumentTypeError: by position without `ids`, or more than the ids.
        ArgumentError: by position and by keyword.
    """
    if not by_position:
        return labels, targets
    if ids is None:
        name = type(owner).__name__
        raise ArgumentTypeError(f'{_BY_POSITION}; or say once what they are, {name}(..., ids="labels") or "targets"')
    if len(by_position) > 1:
        raise ArgumentTypeError(f"{ids} must be all that follows by position, got {len(by_position)} arguments")
    (given,) = by_position
    exactly_one(labels=labels, targets=targets, **{f"{ids} by position": given})
    return (given, None) if ids == "labels" else (None, given)  # type: ignore[return-value]  # targets_from checks it


def targets_from(
    misplaced: tuple[object, ...],
    *,
    labels: Tensor | None,  # [...]
    targets: Tensor | Targets | None,  # [...]
    of: Tensor,  # [..., D or V]: hidden states or logits
    document: Tensor | None = None,  # [...]
    token_weight: Tensor | None = None,  # [...]
    ignore_index: int = IGNORE_INDEX,
) -> Targets:
    """Targets of each position of `of`, on its device, from the one of `labels` and `targets` that is given.

    Args:
        misplaced: what the caller got by position where a keyword was due; anything in it is refused.
        of: what predicts them; the ids have its leading dimensions.
        document: of each position; refused beside a Targets, which has its own.
        token_weight: aligned with whichever ids are given; multiplies the weight of a Targets.
        ignore_index: of ids given as a Tensor; a Targets has its own.

    Raises:
        ArgumentTypeError: ids by position, or of another kind.
        ArgumentError: both words or neither, or a shape that does not fit.
    """
    if misplaced:
        raise ArgumentTypeError(_BY_POSITION)
    name = exactly_one(labels=labels, targets=targets)
    ids = labels if name == "labels" else targets
    if isinstance(ids, Targets) and name == "labels":
        raise ArgumentTypeError("labels must be a Tensor, got Targets, which are shifted: give them as targets=...")
    if not isinstance(ids, Tensor | Targets):
        raise ArgumentTypeError(f"{name} must be a Tensor, got {type(ids).__name__}")
    shape = of.shape[:-1]
    require(ids.shape == shape, name, f"have the shape {tuple(shape)}", tuple(ids.shape), _remedy(ids.shape, shape))
    if token_weight is not None:
        check_like_ids("token_weight", token_weight, shape)
    ids = ids.to(of.device)
    if isinstance(ids, Targets):
        if document is not None:
            raise ArgumentError("document must not be given beside a Targets, got both: the Targets has its own")
        require(ids.offset == 1, "targets", "be those of the next token, at(1)", f"at({ids.offset})")
        return ids if token_weight is None else ids.weighted(token_weight.to(of.device))
    if name == "labels":
        return Targets.from_labels(ids, document=document, weight=token_weight, ignore_index=ignore_index)
    return Targets.from_targets(ids, document=document, weight=token_weight, ignore_index=ignore_index)


def _remedy(got: torch.Size, wanted: torch.Size) -> str:
    if [*got[:-1], *(length + 1 for length in got[-1:])] == list(wanted) != []:
        return "the last position has nothing to predict; give all labels, or ignore_index as its target"
    return "one id for each position"
