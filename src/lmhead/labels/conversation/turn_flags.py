"""What a message says of its own training, in the words of any trainer: whether it is learnt, and with what weight.

    learnt where true or 1     train (ours, axolotl, Nemotron), loss (ms-swift, AgentInstruct), training and
                               train_on_turn (axolotl's message_field_training), trainable (Tinker), loss_mask (verl),
                               step_loss_mask (slime)
    left out where true        masked (torchtune), mask. A number in mask is refused: 1 is learnt to some trainers and
                               left out to others
    weight, 0 leaves it out    weight (OpenAI, Mistral, axolotl), loss_scale (ms-swift)

Only an assistant's message is learnt. Any other may say that it is not, or have the weight 1, which says nothing.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from lmhead.errors import ArgumentError
from lmhead.shown import shown_value

_LEARNT: Final = ("train", "loss", "training", "train_on_turn", "trainable", "loss_mask", "step_loss_mask")
_LEFT_OUT: Final = ("masked", "mask")
WEIGHTS: Final = ("weight", "loss_scale")
_PARTS: Final = "train_detail"  # axolotl's message_field_training_detail: spans of a message
WHOLE_ALONE: Final = "parts of a message cannot be chosen; write train for the whole of it"  # a remedy
FLAGS: Final = (*_LEARNT, *_LEFT_OUT, *WEIGHTS, _PARTS)  # none of them is for a template


def train_of(message: Mapping[str, Any], name: str = "message") -> bool | None:
    """Whether a message says that it is learnt; a weight of 0 says no. None: it does not say.

    Raises:
        ArgumentError: a flag breaks its rule, two of them contradict each other, or it is not an assistant's.

    Example:
        >>> train_of({"role": "assistant", "loss_mask": 0}), train_of({"role": "assistant", "weight": 0.5})
        (False, None)
    """
    train, weight = said(message, name)
    return False if weight == 0 else train


def weight_of(message: Mapping[str, Any], name: str = "message") -> float:
    """The weight of a message's tokens in the loss, 1 where it does not say.

    Raises:
        ArgumentError: as of `train_of`.
    """
    weight = said(message, name)[1]
    return 1.0 if weight is None else float(weight)


def said(message: Mapping[str, Any], name: str) -> tuple[bool | None, float | None]:
    """What all flags of a message say together: whether it is learnt, and its weight; None each where none says it.

    Raises:
        ArgumentError: as of `train_of`.
    """
    given = [key for key in FLAGS if message.get(key) is not None]
    if not given:
        return None, None
    if message.get(_PARTS):
        raise ArgumentError(f"{name}.{_PARTS} must be absent, got {shown_value(message[_PARTS])}: {WHOLE_ALONE}")
    learnt = {key: _learnt(name, key, message[key]) for key in given if key in (*_LEARNT, *_LEFT_OUT)}
    weights = {key: _weight(name, key, message[key]) for key in given if key in WEIGHTS}
    if len(set(weights.values())) > 1:
        keys = ", ".join(weights)
        raise ArgumentError(f"{name} must have one weight, got different ones in {keys}: keep weight")
    weight = next(iter(weights.values()), None)
    answers = set(learnt.values()) | ({False} if weight == 0 and True in learnt.values() else set())
    if len(answers) > 1:
        keys = ", ".join([*learnt, *(weights if weight == 0 else ())])
        raise ArgumentError(f"{name} must say once whether it is trained, got different values in {keys}: keep train")
    train = next(iter(answers), None)
    if message.get("role") != "assistant":
        _check_other(name, message, learnt if train else {}, weights if weight not in (None, 0, 1) else {})
    return train, weight


def _learnt(name: str, key: str, value: Any) -> bool:
    """Whether one flag says that a message is learnt."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if key == "mask" and number:
        remedy = "to some trainers 1 is learnt, to others left out; write loss_mask or train instead"
        raise ArgumentError(f"{name}.mask must be true or false, got {shown_value(value)}: {remedy}")
    if not isinstance(value, bool | np.bool_) and not (number and value in (0, 1)):
        remedy = "write one of them, without quotes"
        raise ArgumentError(f"{name}.{key} must be true or false, got {shown_value(value)}: {remedy}")
    return bool(value) != (key in _LEFT_OUT)


def _weight(name: str, key: str, value: Any) -> float:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not 0 <= value < float("inf"):
        got = shown_value(value)
        raise ArgumentError(f"{name}.{key} must be a finite number >= 0, got {got}: 0 leaves it out, 1 is usual")
    weight: float = value
    return weight


def _check_other(
    name: str, message: Mapping[str, Any], learnt: Mapping[str, bool], weights: Mapping[str, float]
) -> None:
    """Raise ArgumentError where a message that is not an assistant's says that it is learnt."""
    key = next(iter((*learnt, *weights)), None)
    if key is not None:
        rule = f"be {'true' if key in _LEFT_OUT else 'false' if key in learnt else '0 or 1'}"
        got = f"{rule} for the role {message.get('role')}, got {shown_value(message[key])}"
        raise ArgumentError(f"{name}.{key} must {got}: only an assistant's message is learnt; leave it out")
