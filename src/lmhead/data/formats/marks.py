"""Columns that say whether a row is learnt: one that says no is left out, and counted.

A mark says whether the row is a good answer, as data for KTO has it: TRL and ms-swift call the column `label`,
LLaMA-Factory `kto_tag`, and all of them mean true or false. A score, a rating or the name of a class has no such
meaning, and is not read. A flag is that of a message (labels/conversation/turn_flags.py) beside the whole conversation:
true and false, 0 and 1 speak of the row; a list would speak of its messages, and is refused; a text is a name, and not
read.
"""

from collections.abc import Mapping
from typing import Any, Final

from lmhead.data.rows.format_columns import MARKS
from lmhead.data.rows.row import Place
from lmhead.data.rows.row_error import broken
from lmhead.labels.conversation.turn_flags import FLAGS, WEIGHTS, train_of
from lmhead.shown import shown_value

# formats whose rows are answers
_OF_ANSWERS: Final = ("messages", "sharegpt", "prompt_completion", "alpaca", "responses")
_FLAGS: Final = tuple(name for name in FLAGS if name != "train_detail")  # which speaks of parts of a message
_CLASS: Final = "label"  # what else may be meant by it is a class, beside anything but prompt and completion
_WITH_CLASS_REFUSED: Final = ("prompt_completion",)


def mark_of_bad(place: Place, columns: Mapping[str, Any], format: str) -> str | None:
    """What says that a row is not learnt, "label is false"; None where nothing says so.

    Raises:
        InputError: a mark is neither true nor false, and nothing else can be meant by it; a flag speaks of messages.
    """
    if format not in _OF_ANSWERS:
        return None
    bad = _flag_that_says_no(place, columns)
    for name in MARKS:
        value = columns.get(name)
        if value is None or value is True:
            continue
        if value is False:
            bad = bad or f"{name} is false"
        elif name != _CLASS or format in _WITH_CLASS_REFUSED:
            remedy = (
                "true is learnt and false left out, as in data for KTO; take the column out if it means anything else"
            )
            raise broken(place, name, "be true or false, where it marks answers", shown_value(value), remedy)
    return bad


def marks_of(columns: Mapping[str, Any], format: str) -> list[str]:
    """The columns of a row that are read here: a `label` that is the name of a class is not."""
    if format not in _OF_ANSWERS:
        return []
    return [
        *(name for name in MARKS if isinstance(columns.get(name), bool)),
        *(name for name in _FLAGS if name in columns and _is_flag(name, columns[name])),
    ]


def _flag_that_says_no(place: Place, columns: Mapping[str, Any]) -> str | None:
    """The flag beside a conversation that says that it is not learnt, with its value."""
    for name in _FLAGS:
        value = columns.get(name)
        if value is None:
            continue
        if isinstance(value, list | tuple) and value and all(isinstance(each, int | float) for each in value):
            remedy = "write each into its message, or take the column out if it means anything else"
            raise broken(place, name, "be true or false of the whole row", shown_value(value), remedy)
        if name == "mask" and not isinstance(value, bool) and value in (0, 1):
            remedy = "to some trainers 1 is learnt, to others left out; write train instead, or take the column out"
            raise broken(place, name, "be true or false", shown_value(value), remedy)
        if _is_flag(name, value) and train_of({"role": "assistant", name: value}) is False:
            return f"{name} is {shown_value(value).lower()}"
    return None


def _is_flag(name: str, value: object) -> bool:
    """Whether a column of a flag's name says that the row is learnt or not; a loss that is a number was measured."""
    if isinstance(value, bool):
        return name not in WEIGHTS
    return name != "loss" and isinstance(value, int | float) and value in (0, 1)
