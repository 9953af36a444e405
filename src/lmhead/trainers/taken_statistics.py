"""The statistics of a trainer's last forward, and what is said where a trainer's loss went past the patch."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from lmhead.errors import ArgumentError
from lmhead.models.transformers.patching.refusals import model_inside
from lmhead.models.transformers.patching.state import PatchState, state_of
from lmhead.ops.problem import TokenStatistics


def taken_statistics(model: nn.Module) -> TokenStatistics:
    """Of the last forward, [N], as `lmhead.last_statistics`.

    Raises:
        ArgumentError: the model is not patched, or its last loss was taken without the patch, and what to do.
    """
    statistics = patch_of(model).statistics
    if statistics is None:
        raise ArgumentError(
            "a trainer must take its loss by the patched model's forward with labels, got a loss without it: "
            "SFTTrainer needs lmhead.SFTMixin before it among the bases; label_smoothing_factor, compute_loss_func and "
            "use_liger_kernel take another loss, so leave them off"
        )
    return statistics


def patch_of(model: nn.Module) -> PatchState:
    """What a patched model remembers.

    Raises:
        ArgumentError: it is not patched.
    """
    state = state_of(model_inside(model))
    if state is None:
        raise ArgumentError(
            f"model must be patched, got a {type(model).__name__} that is not: lmhead.patch(trainer.model)"
        )
    return state


@contextmanager
def without_logits(model: nn.Module) -> Iterator[None]:
    """No logits where a patched model has labels: in an evaluation that looks at nothing but losses."""
    state = patch_of(model)
    before, state.logits = state.logits, "never"
    try:
        yield
    finally:
        state.logits = before
