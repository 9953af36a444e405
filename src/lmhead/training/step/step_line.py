"""The line of a run's log that tells of one step (docs/seeing/record.md)."""

from collections.abc import Sequence

from lmhead.training.reporter import StepRecord
from lmhead.training.run.log import Record
from lmhead.training.step.window import WindowLoss


def step_line(record: StepRecord, made: WindowLoss, grad_norms: Sequence[float]) -> Record:
    """Loss, gradient norm, rate, tokens, seconds; of further tokens and of several sources what there is of them."""
    return {
        "step": record.step,
        "loss": record.loss,
        "grad_norm": record.grad_norm,
        "rate": record.rate,
        "tokens": record.tokens,
        "seconds": round(record.seconds, 3),
        **_of_depths(made, grad_norms),
        **({"sources": dict(record.sources)} if record.sources else {}),
    }


def _of_depths(made: WindowLoss, grad_norms: Sequence[float]) -> dict[str, float]:
    """What a step's record says of the further tokens, where there are any."""
    if not made.depths:
        return {}
    losses = {f"mtp_loss_{k}": loss for k, loss in enumerate(made.depths, 1) if loss is not None}
    apart = {"mtp_grad_norm": grad_norms[1]} if len(grad_norms) > 1 else {}
    return {**losses, "total_loss": made.differentiated, **apart}
