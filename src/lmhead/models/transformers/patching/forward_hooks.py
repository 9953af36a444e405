"""The two hooks of a patched model: which forwards have a loss, and what becomes of their logits.

Hooks keep the forward's signature, which transformers' Trainer reads, and the model's class.
"""

from typing import Any

import torch
from torch import Tensor, nn

from lmhead.errors import IGNORE_INDEX, ArgumentError
from lmhead.models.transformers.patching.head_override import follow
from lmhead.models.transformers.patching.lazy_logits import LazyLogits
from lmhead.models.transformers.patching.rebuilt_output import rebuilt
from lmhead.models.transformers.patching.state import PatchState, state_of

_ITEMS = "num_items_in_batch"


def before_forward(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Have the output layer give lazy logits where the forward has labels."""
    state = state_of(model)
    assert state is not None
    if getattr(model, "_is_replica", False):
        raise ArgumentError(
            "a patched model must not be run by nn.DataParallel, whose replicas share what it remembers, got one: use "
            "DistributedDataParallel, a process for each GPU"
        )
    follow(model, state)
    labels = kwargs.get("labels")
    if labels is None and state.labels_at is not None and len(args) > state.labels_at:
        labels = args[state.labels_at]
    state.entered, state.called, state.statistics = True, False, None
    state.recording = (state.handing_out or labels is not None) and not state.paused
    if labels is None and kwargs.get(_ITEMS) is not None and model.training:
        state.tell(
            "a patched model must be given labels in training, got a trainer that keeps them for itself: logits are "
            "made and nothing is saved; leave label_smoothing_factor and compute_loss_func off, or "
            "lmhead.unpatch(model)"
        )
    if state.proof is not None and not state.proof.divides_by_items and _of_a_window(kwargs.get(_ITEMS), labels):
        state.tell(
            f"{type(model).__name__} must be trained without accumulation, got {_ITEMS} of more than this batch, which "
            "its own loss does not divide by: Trainer multiplies its loss and gradients by "
            "gradient_accumulation_steps, with the patch and without; set model.accepts_loss_kwargs = False before "
            "the Trainer is made, which then divides by the steps"
        )


def after_forward(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """Give nobody lazy logits: real ones, or the output without them. None leaves the output as it is."""
    state = state_of(model)
    assert state is not None
    was_recording, state.recording, state.entered = state.recording, False, False
    if output is None or state.handing_out:  # None: the forward raised
        return None
    if isinstance(output, tuple):
        return _tuple_without(output, state) if _is_lazy(output) else None
    if not isinstance(output, dict):
        return None
    loss = output.get("loss")
    if was_recording and not state.called and loss is not None:
        state.tell(
            f"{type(model).__name__}'s forward must call its output layer, got a loss without it: something has "
            "replaced the forward (TRL's SFTTrainer: put lmhead.SFTMixin before it among the bases; Liger: switch its "
            "fused loss off), and the patch does nothing"
        )
    return _settled(output, kept=loss is None or _keeps_logits(model, state)) if _is_lazy(output) else None


def _of_a_window(items: Any, labels: Any) -> bool:
    """Whether `num_items_in_batch` counts other labels than these: those of a window, or of several ranks."""
    if items is None or not isinstance(labels, Tensor) or torch.compiler.is_compiling():
        return False
    counts = (int((counted != IGNORE_INDEX).sum()) for counted in (labels, labels[..., 1:]))  # as Trainer counts them
    return int(items) not in counts


def _tuple_without(output: tuple[Any, ...], state: PatchState) -> tuple[Any, ...]:
    """A tuple keeps its places, which are all that its reader knows: real logits, None where they are never wanted."""
    if state.logits == "never" and not isinstance(output[0], LazyLogits):  # a loss comes first
        return tuple(None if isinstance(each, LazyLogits) else _settled(each, kept=True) for each in output)
    return tuple(_settled(each, kept=True) for each in output)


def _keeps_logits(model: nn.Module, state: PatchState) -> bool:
    return state.logits == "always" or (state.logits == "eval" and not model.training)


def _is_lazy(value: Any) -> bool:
    """Whether there are lazy logits in an output, or in one within it: a text model's, in that of one that sees."""
    if isinstance(value, dict):
        return any(_is_lazy(each) for each in value.values())
    if type(value) in (tuple, list):
        return any(_is_lazy(each) for each in value)
    return isinstance(value, LazyLogits)


def _settled(value: Any, *, kept: bool) -> Any:
    """Without lazy logits: with real ones where they are kept, else built anew, `output.logits = None` has the key."""
    if isinstance(value, LazyLogits):
        return value.dense()
    if isinstance(value, dict):
        there = {name: each for name, each in value.items() if kept or not isinstance(each, LazyLogits)}
        return rebuilt(value, {name: _settled(each, kept=kept) for name, each in there.items()})
    if type(value) in (tuple, list):
        return type(value)(_settled(each, kept=True) for each in value)
    return value
