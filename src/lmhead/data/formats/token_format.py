"""Reader of rows that somebody tokenised: input_ids, and labels or masks that say which of them are learnt."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lmhead.data.formats.sample import TokenSample
from lmhead.data.rows.format_columns import MASKS
from lmhead.data.rows.row import Row
from lmhead.data.rows.row_error import broken
from lmhead.errors import IGNORE_INDEX, ArgumentError, ArgumentTypeError, InputError
from lmhead.shown import shown_value

_ZERO_ONE: Final = (*MASKS, "attention_mask")
_Ids = npt.NDArray[np.int64]


def read_tokens(row: Row) -> TokenSample:
    """`input_ids` with `labels`, or with a mask that is 1 where a token is learnt. Padding is cut off.

    Labels and masks together: learnt is what both say. Neither: everything is.
    """
    ids = _integers(row, "input_ids")
    if not len(ids):
        raise broken(row.place, "input_ids", "hold at least one id", "an empty list", "leave the row out")
    labels = _integers(row, "labels", len(ids)) if "labels" in row.columns else None
    for name in (name for name in MASKS if name in row.columns):
        mask = _mask(row, name, len(ids))
        labels = np.where(mask, ids if labels is None else labels, IGNORE_INDEX)
    _check_one_document(row, ids)
    kept = _kept(row, len(ids))
    if labels is not None and (np.delete(labels, np.arange(len(ids))[kept]) != IGNORE_INDEX).any():
        remedy = "padding is not learnt; mask it by its length, not by its id"
        raise broken(row.place, "labels", f"be {IGNORE_INDEX} where attention_mask is 0", "an id", remedy)
    return TokenSample(
        place=row.place, ids=ids[kept].tolist(), labels=None if labels is None else labels[kept].tolist()
    )


def _integers(row: Row, name: str, length: int | None = None) -> _Ids:
    """A column of integers [T]."""
    value: Any = row.columns[name]
    form = "be a list of integers"
    if isinstance(value, str | dict) or not hasattr(value, "__len__"):
        raise broken(row.place, name, form, shown_value(value), "write what the tokenizer gave, or text as text")
    try:
        array = np.asarray(value if len(value) else np.zeros(0, np.int64))
    except (ValueError, OverflowError):  # ragged
        array = np.zeros(0, object)
    if array.ndim == 2:
        raise broken(row.place, name, form, "a list of lists", "write one row for each text")
    if array.dtype.kind not in ("iub" if name in _ZERO_ONE else "iu"):
        strange = [shown_value(item) for item in value if isinstance(item, bool) or not isinstance(item, int)]
        got = f"{strange[0]} in it" if strange else "numbers beyond 64 bits"
        raise broken(row.place, name, form, got, "write what the tokenizer gave")
    if length is not None and len(array) != length:
        remedy = "labels stand beside the ids, one each, and are not shifted"
        raise broken(row.place, name, f"have as many entries as input_ids, {length}", str(len(array)), remedy)
    return array.astype(np.int64)


def _mask(row: Row, name: str, length: int) -> npt.NDArray[np.bool_]:
    mask = _integers(row, name, length)
    strange = mask[(mask != 0) & (mask != 1)]
    if len(strange):
        raise broken(row.place, name, "be of 0 and 1", str(strange[0]), "1 is a token that counts")
    return np.equal(mask, 1)


def _kept(row: Row, length: int) -> slice:
    """What attention_mask leaves where it hides padding at the ends."""
    if "attention_mask" not in row.columns:
        return slice(0, length)
    mask = _mask(row, "attention_mask", length)
    seen = np.flatnonzero(mask)
    if not len(seen):
        raise broken(row.place, "attention_mask", "show a token", "zeros alone", "leave the row out")
    kept = slice(int(seen[0]), int(seen[-1]) + 1)
    if not mask[kept].all():
        remedy = "tokens in the middle of a text cannot be hidden; say what is not learnt with labels"
        raise broken(row.place, "attention_mask", "hide padding at the ends alone", "a 0 between two 1", remedy)
    return kept


def _check_one_document(row: Row, ids: _Ids) -> None:
    """Raise InputError for a row that is several documents: they would see one another."""
    from lmhead.labels.collated.batch_columns import read_batch
    from lmhead.labels.collated.batch_documents import BOUND_KEYS, DOCUMENT_KEYS, LENGTH_KEYS

    telling = ("position_ids", *DOCUMENT_KEYS, *BOUND_KEYS, *LENGTH_KEYS)
    told = {name: row.columns[name] for name in telling if name in row.columns}
    if not told:
        return
    if "attention_mask" in row.columns:
        told["attention_mask"] = _mask(row, "attention_mask", len(ids)).astype(np.int64)
    try:
        columns = read_batch({"input_ids": ids, **told})
    except (ArgumentError, ArgumentTypeError) as error:
        raise InputError(f"{row.place}: {error}: write what fits the row, or leave the column out") from None
    if columns.document is None:
        return
    rising = columns.positions is not None and (np.diff(columns.positions[columns.visible]) > 0).all()
    if columns.told_by == "position_ids" and rising:
        return  # places are left out, and no document begins
    count = len(np.unique(columns.document[columns.visible]))
    if count > 1:
        remedy = "write a row for each document; lmhead packs them itself"
        raise broken(row.place, columns.told_by, "tell of one document", f"{count} in one row", remedy)
