"""What a message says of its own training, in the words of any trainer, is one answer or a refusal."""

import numpy as np
import pytest

from lmhead.errors import ArgumentError
from lmhead.labels.conversation.turn_flags import FLAGS, train_of, weight_of


def said(**flags: object) -> dict[str, object]:
    return {"role": "assistant", "content": "Hello", **flags}


@pytest.mark.parametrize(
    "key", ["train", "loss", "training", "train_on_turn", "trainable", "loss_mask", "step_loss_mask"]
)
@pytest.mark.parametrize("value", [True, 1, 1.0, np.bool_(True), np.int64(1)])
def test_true_and_one_are_learnt_and_their_opposites_are_not(key: str, value: object) -> None:
    assert train_of(said(**{key: value})) is True
    assert train_of(said(**{key: type(value)(0)})) is False


@pytest.mark.parametrize("value", [True, 1])
def test_what_is_masked_is_not_learnt(value: object) -> None:
    assert train_of(said(masked=value)) is False
    assert train_of(said(masked=type(value)(0))) is True
    assert train_of(said(mask=True)) is False


@pytest.mark.parametrize("value", [0, 1, 1.0])
def test_a_number_in_mask_is_refused_because_trainers_differ(value: object) -> None:
    with pytest.raises(
        ArgumentError, match=r"message.mask must be true or false, got .*: to some trainers 1 is learnt"
    ):
        train_of(said(mask=value))


@pytest.mark.parametrize("key", ["weight", "loss_scale"])
def test_a_weight_scales_and_zero_leaves_out(key: str) -> None:
    assert (train_of(said(**{key: 0.5})), weight_of(said(**{key: 0.5}))) == (None, 0.5)
    assert (train_of(said(**{key: 0})), weight_of(said(**{key: 0}))) == (False, 0.0)
    assert (train_of(said(train=True, **{key: 2})), weight_of(said(train=True, **{key: 2}))) == (True, 2.0)
    assert (train_of(said()), weight_of(said())) == (None, 1.0)


@pytest.mark.parametrize("key", FLAGS)
def test_null_says_nothing(key: str) -> None:
    assert (train_of(said(**{key: None})), weight_of(said(**{key: None}))) == (None, 1.0)


@pytest.mark.parametrize("value", ["true", "0", "no", 2, -1, 0.5, [1], {}])
@pytest.mark.parametrize("key", ["train", "loss_mask", "masked"])
def test_what_is_neither_true_nor_false_is_refused(key: str, value: object) -> None:
    with pytest.raises(ArgumentError, match=f"^messages\\[1\\].{key} must be true or false, got "):
        train_of(said(**{key: value}), "messages[1]")


@pytest.mark.parametrize("value", ["1", True, -1, float("nan"), float("inf"), [1]])
@pytest.mark.parametrize("key", ["weight", "loss_scale"])
def test_what_is_no_weight_is_refused(key: str, value: object) -> None:
    with pytest.raises(ArgumentError, match=f"message.{key} must be a finite number >= 0, got "):
        weight_of(said(**{key: value}))


@pytest.mark.parametrize(
    "flags",
    [
        {"train": True, "loss": False},
        {"loss_mask": 1, "masked": True},
        {"train": True, "weight": 0},
        {"trainable": True, "loss_scale": 0.0},
    ],
)
def test_flags_that_contradict_each_other_are_refused(flags: dict[str, object]) -> None:
    message = f"must say once whether it is trained, got different values in {', '.join(flags)}: keep train"
    with pytest.raises(ArgumentError, match=message):
        train_of(said(**flags))


def test_two_weights_are_refused_unless_they_are_equal() -> None:
    assert weight_of(said(weight=0.5, loss_scale=0.5)) == 0.5
    with pytest.raises(ArgumentError, match="must have one weight, got different ones in weight, loss_scale"):
        weight_of(said(weight=0.5, loss_scale=0.7))
    assert train_of(said(train=False, weight=0.5)) is False  # how much says nothing of whether


@pytest.mark.parametrize(
    ("flag", "rule"),
    [
        ({"train": True}, "false"),
        ({"loss_mask": 1}, "false"),
        ({"mask": False}, "true"),
        ({"weight": 0.5}, "0 or 1"),
    ],
)
def test_only_an_assistants_message_may_say_that_it_is_learnt(flag: dict[str, object], rule: str) -> None:
    key = next(iter(flag))
    with pytest.raises(ArgumentError, match=f"message.{key} must be {rule} for the role user, got "):
        train_of({"role": "user", "content": "Hi", **flag})


@pytest.mark.parametrize("flag", [{"train": False}, {"loss_mask": 0}, {"masked": True}, {"weight": 0}, {"weight": 1}])
def test_any_message_may_say_that_it_is_not_learnt(flag: dict[str, object]) -> None:
    assert train_of({"role": "user", "content": "Hi", **flag}) is not True


def test_parts_of_a_message_cannot_be_chosen() -> None:
    spans = [{"begin_offset": 0, "end_offset": 2, "train": True}]
    with pytest.raises(ArgumentError, match=r"message.train_detail must be absent, got a list: parts of a message"):
        train_of(said(train_detail=spans))
