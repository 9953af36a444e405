"""Columns that say whether a row is a good answer, as data for KTO has them: one that says no is not learnt.

TRL and ms-swift call the column `label`, LLaMA-Factory `kto_tag`, and all of them mean true or false. A score, a
rating or the name of a class has no such meaning, and is not read.
"""

from collections.abc import Mapping
from typing import Any, Final

from lmhead.data.format_columns import MARKS
from lmhead.data.row_error import broken, shown
from lmhead.data.sample import Place

# formats whose rows are answers
_OF_ANSWERS: Final = ("messages", "sharegpt", "prompt_completion", "alpaca", "responses")
_CLASS: Final = "label"  # what else may be meant by it is a class, beside anything but prompt and completion
_WITH_CLASS_REFUSED: Final = ("prompt_completion",)


def mark_of_bad(place: Place, columns: Mapping[str, Any], format: str) -> str | None:
    """The column that says that a row is a bad answer; None where none says so.

    Raises:
        InputError: it is neither true nor false, and nothing else can be meant by it.
    """
    if format not in _OF_ANSWERS:
        return None
    bad = None
    for name in MARKS:
        value = columns.get(name)
        if value is None or value is True:
            continue
        if value is False:
            bad = bad or name
        elif name != _CLASS or format in _WITH_CLASS_REFUSED:
            remedy = (
                "true is learnt and false left out, as in data for KTO; take the column out if it means anything else"
            )
            raise broken(place, name, "be true or false, where it marks answers", shown(value), remedy)
    return bad


def marks_of(columns: Mapping[str, Any], format: str) -> list[str]:
    """The columns of a row that are read here: a `label` that is the name of a class is not."""
    return [name for name in MARKS if format in _OF_ANSWERS and isinstance(columns.get(name), bool)]
