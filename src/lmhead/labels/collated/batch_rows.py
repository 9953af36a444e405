"""Columns of a batch, torch tensors, numpy arrays or lists, of one row or several, as numpy rows."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lmhead.errors import ArgumentError, ArgumentTypeError, require

_PLANES: Final = (3, 4)  # time, height and width; text in front of them


def rows_of(name: str, value: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """(values [R, T], which of them were given [R, T]) of one row or several, of equal length or not.

    Raises:
        ArgumentTypeError: it is no array of integers.
        ArgumentError: it is neither [T] nor [R, T].
    """
    if isinstance(value, Sequence) and len(value) and isinstance(value[0], Tensor | np.ndarray | Sequence):
        rows = [integers(name, as_array(row)) for row in value]
    else:
        array = integers(name, as_array(value))
        rows = list(np.atleast_2d(array))
    flat = all(row.ndim == 1 for row in rows)
    require(flat, name, "be [T] or [R, T]", f"{max(row.ndim for row in rows) + 1 if rows else 0} dimensions")
    T = max((len(row) for row in rows), default=0)
    values = np.zeros((len(rows), T), np.int64)
    present = np.zeros((len(rows), T), np.bool_)
    for number, row in enumerate(rows):
        values[number, : len(row)] = row
        present[number, : len(row)] = True
    return values, present


def column_of(batch: Mapping[str, Any], name: str, present: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64] | None:
    """A column beside input_ids [R, T]; None where the batch has none.

    Raises:
        ArgumentTypeError, ArgumentError: as `rows_of`, or it has not as many tokens as input_ids.
    """
    return None if batch.get(name) is None else _fitted(name, batch[name], present)


def planes_of(batch: Mapping[str, Any], name: str, present: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64] | None:
    """Positions [P, R, T]: one plane, or the three or four of models that see pictures, planes or rows first.

    Raises:
        ArgumentTypeError, ArgumentError: as `column_of`.
    """
    value = batch.get(name)
    if value is None:
        return None
    shape = (len(value), len(value[0])) if dimensions(value) == 3 else (0, 0)
    if shape[0] in _PLANES and shape[1] in (1, len(present)):
        planes = list(value)
    elif shape[1] in _PLANES and shape[0] == len(present):  # rows first
        planes = [[row[plane] for row in value] for plane in range(shape[1])]
    elif dimensions(value) == 2 and len(present) == 1 and len(value) in _PLANES:
        planes = [[plane] for plane in value]
    else:
        planes = [value]
    return np.stack([_fitted(name, plane, present) for plane in planes])


def dimensions(value: Any) -> int:
    """Of a tensor, an array or nested lists, of which only the first is looked into."""
    if isinstance(value, Tensor | np.ndarray):
        return int(value.ndim)
    return 1 + dimensions(value[0]) if isinstance(value, Sequence) and len(value) else 0


def as_array(value: Any) -> npt.NDArray[Any]:
    """The same numbers.

    Raises:
        ArgumentError: nested lists of unequal length.
    """
    if isinstance(value, Tensor):
        return value.detach().cpu().numpy()
    try:
        return np.asarray(value)
    except ValueError:  # rows of unequal length inside a list of lists
        raise ArgumentError("batch must have rows of plain numbers, got nested lists of unequal length") from None


def integers(name: str, array: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The same as int64.

    Raises:
        ArgumentTypeError: they are no whole numbers.
    """
    whole = array.dtype.kind in "iub" or (array.dtype.kind == "f" and (array == array.round()).all())
    if array.size and not whole:
        raise ArgumentTypeError(f"{name} must be integers, got {array.dtype}")
    return array.astype(np.int64)


def _fitted(name: str, value: Any, present: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    values, there = rows_of(name, value)
    if len(values) == 1 < len(present) and values.shape[1] == present.shape[1]:
        values, there = np.broadcast_to(values, present.shape), np.broadcast_to(there, present.shape)
    sizes, wanted = there.sum(1).tolist(), present.sum(1).tolist()
    require(sizes == wanted, name, f"have as many tokens in each row as input_ids, {_few(wanted)}", _few(sizes))
    return values


def _few(sizes: list[int]) -> str:
    return f"[{', '.join(map(str, sizes[:4]))}{', ...' if len(sizes) > 4 else ''}]"
