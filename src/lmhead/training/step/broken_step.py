"""Broken steps: a loss or a gradient that is no number, or no gradient at all. They are never taken."""

import math
from collections.abc import Sequence
from pathlib import Path

from lmhead.errors import InputError, NonFiniteError
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.options import option
from lmhead.training.setup import Ready

_NAMED = 5  # sources


def is_finite(loss: float, grad_norms: Sequence[float]) -> bool:
    """Whether a step can be taken."""
    return math.isfinite(loss) and all(map(math.isfinite, grad_norms))


def non_finite(
    loss: float,
    grad_norms: Sequence[float],
    window: Sequence[PackedBatch],
    ready: Ready,
    *,
    step: int,
    saved: Path | None,
) -> NonFiniteError:
    """The error of a step, counted from 0, with the rows of all ranks. All of them call it.

    Args:
        window: this rank's rows.
        saved: the last good checkpoint.
    """
    config = ready.config
    rows = config.accumulate * config.rows
    own = {source for batch in window if batch.targets.count for row in batch.sources for source in row}
    names = [ready.rows.name(source) for source in sorted(set().union(*ready.ranks.everyone(own)))]
    shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    grad_norm = next((norm for norm in grad_norms if not math.isfinite(norm)), grad_norms[0])
    return NonFiniteError(
        f"step {step + 1}: the loss is {loss} and the gradient norm {grad_norm}, so the step was not "
        f"taken; its batch is rows {step * rows} to {step * rows + rows - 1} (from {shown}); "
        + (f"the last good checkpoint is {saved}" if saved is not None else "no checkpoint was saved yet")
        + ": "
        + (
            f"lower the learning rates ({option('optimizer.lr')}) or look at those documents"
            if step
            else f"no rate has acted yet: look at the weights that training starts from, or at {option('z_loss')}"
        )
    )


def require_gradient(weight: float, grad_norms: Sequence[float]) -> None:
    """Refuse, before the first step, what would train nothing to the end.

    Raises:
        InputError: there is a loss, and no parameter has a gradient of it.
    """
    if weight and not any(grad_norms):
        raise InputError(
            "the gradient of the first step must not be 0, got 0: weights of 0 stay 0; "
            f"look at the weights that training starts from, or at {option('model.init_std')}"
        )
