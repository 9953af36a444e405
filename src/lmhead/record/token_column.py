"""A column of a row of a record: a list of numbers, one for each token, as an array of its kind; nothing is guessed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lmhead.errors import IGNORE_INDEX, InputError

_MOST: Final = 2**53  # ids and counts that every program reads alike
REASONS: Final = frozenset({*range(7), *range(16, 27)})  # the values of lmhead.Reason, which would need torch


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """What the numbers of a column are."""

    dtype: type[np.generic]
    words: str
    least: float = -np.inf
    most: float = np.inf
    null: bool = False  # there may be null, which is NaN
    wide: bool = False  # there is a list for each token


COLUMNS: Final = {
    "ids": _Column(dtype=np.int64, words="whole numbers", least=-_MOST, most=_MOST),
    "targets": _Column(dtype=np.int64, words=f"ids, or {IGNORE_INDEX}", least=IGNORE_INDEX, most=_MOST),
    "reason": _Column(dtype=np.uint8, words="values of lmhead.Reason", least=0, most=max(REASONS)),
    "weight": _Column(dtype=np.float32, words="numbers >= 0", least=0, most=float(np.finfo(np.float32).max)),
    "document": _Column(dtype=np.int64, words="counts, or -1", least=-1, most=_MOST),
    "position": _Column(dtype=np.int64, words="counts", least=0, most=_MOST),
    "nll": _Column(dtype=np.float64, words="numbers or null", null=True),
    "rank": _Column(dtype=np.int64, words="counts, or -1", least=-1, most=_MOST),
    "entropy": _Column(dtype=np.float64, words="numbers or null", null=True),
    "top_ids": _Column(dtype=np.int64, words="lists of as many ids, or -1", least=-1, most=_MOST, wide=True),
    "top_logprobs": _Column(dtype=np.float64, words="lists of as many numbers or null", null=True, wide=True),
}


def column_of(line: Mapping[str, Any], name: str, count: int | None = None) -> npt.NDArray[Any]:
    """The column [T] or [T, k] of a row's line.

    Raises:
        InputError: it is no list of such numbers, or has not `count` entries.
    """
    column = COLUMNS[name]
    array = _numbers(line[name], column)
    if array is None or not _holds(name, array, column):
        raise InputError(f'"{name}" of a row of a record must be a list of {column.words}')
    if count is not None and len(array) != count:
        raise InputError(
            f'"{name}" of a row of a record must have as many entries as its ids, {count:,}, got {len(array):,}'
        )
    return array.astype(column.dtype)


def _numbers(values: Any, column: _Column) -> npt.NDArray[Any] | None:
    """The list as an array of numbers; None where it is none."""
    if not isinstance(values, list) or bool in set(map(type, values)):  # which numpy takes for 0 and 1
        return None
    if not values:
        return np.zeros((0, 0) if column.wide else 0, dtype=column.dtype)
    try:
        array = np.array(_known(values) if column.null else values)
    except (ValueError, OverflowError):  # lists that differ in length
        return None
    kinds = "iuf" if np.dtype(column.dtype).kind == "f" else "iu"
    return array if array.dtype.kind in kinds and array.ndim == 1 + column.wide else None


def _holds(name: str, array: npt.NDArray[Any], column: _Column) -> bool:
    """Whether the numbers are in the column's range."""
    if name == "reason":
        return bool(np.isin(array, list(REASONS)).all())
    if name == "targets":
        return bool(((array == IGNORE_INDEX) | ((array >= 0) & (array <= column.most))).all())
    return bool((((array >= column.least) & (array <= column.most)) | (column.null & np.isnan(array))).all())


def _known(values: list[Any]) -> list[Any]:
    """null as NaN, in a list of numbers or of lists of them."""
    return [list(map(_number, each)) if isinstance(each, list) else _number(each) for each in values]


def _number(value: Any) -> Any:
    return float("nan") if value is None else value
