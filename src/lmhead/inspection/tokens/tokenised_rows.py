"""Rows of files that somebody tokenised, packed or not, as they are: what is wrong with them is shown, not refused."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from lmhead.data.formats.formats import format_of
from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.rows.format_columns import MASKS, OF_TOKENS
from lmhead.data.rows.read_rows import read_rows
from lmhead.data.rows.row import Row
from lmhead.data.rows.selection import Selection
from lmhead.errors import IGNORE_INDEX, ArgumentError, ArgumentTypeError, InputError, require
from lmhead.inspection.batch.special_ids import SpecialIds
from lmhead.inspection.doctor.reservoir import spread
from lmhead.inspection.tokens.batch_rows import batch_rows
from lmhead.inspection.tokens.material import Material
from lmhead.inspection.tokens.wanted import LABELLED, Wanted
from lmhead.labels.collated.batch_documents import BOUND_KEYS, DOCUMENT_KEYS, LENGTH_KEYS
from lmhead.options import option

_COLUMNS: Final = tuple(dict.fromkeys(("input_ids", *OF_TOKENS, *MASKS, *DOCUMENT_KEYS, *BOUND_KEYS, *LENGTH_KEYS)))
_Columns = Mapping[str, Any]


def begins_with_ids(selection: Selection, config: ChatConfig) -> bool:
    """Whether the first row is one of ids, be it that its format is broken."""
    first = next(read_rows(selection, on_error=lambda _place, _error: None), None)
    try:
        return first is not None and format_of(first, config.format).name == "tokens"
    except InputError:
        return False


def tokenised_rows(selection: Selection, special: SpecialIds | None, wanted: Wanted) -> Material:
    """The rows, and what an audit of them finds; where neither labels nor masks are there, all is learnt.

    Raises:
        InputError: a row has no ids, or columns that do not fit them; or no row is left.
    """
    rows: Iterable[Row] = read_rows(selection)
    if wanted.numbers:
        taken = [row for row in rows if row.place.number in wanted.numbers]
        total = len(taken)
    else:
        taken, total = spread(rows, wanted.rows or LABELLED)
    if not taken:
        raise InputError(f"{', '.join(selection.source.paths)} must hold the rows to show, got none of them")
    shown = _shown(taken, wanted.tokens)
    notes = []
    if len(shown) < total:
        notes.append(f"{len(shown):,} of {total:,} rows are shown: more with {option('rows')} and {option('tokens')}")
    alike: dict[tuple[str, ...], list[Row]] = {}
    for row in shown:
        alike.setdefault(tuple(_columns(row)), []).append(row)
    made = Material.joined([_together(together, special or SpecialIds()) for together in alike.values()])
    return replace(made, notes=(*notes, *made.notes), data=selection.source.paths)


def _shown(rows: list[Row], room: int | None) -> list[Row]:
    """The first rows that there is room for, one at least."""
    shown: list[Row] = []
    for row in rows:
        format_of(row, "tokens")
        size = len(row.columns["input_ids"])
        if room is not None and shown and size > room:
            break
        room = None if room is None else room - size
        shown.append(row)
    return shown


def _together(rows: list[Row], special: SpecialIds) -> Material:
    """Rows that have the same columns, as one batch."""
    parts = [_columns(row) for row in rows]
    try:
        made = batch_rows({name: [part[name] for part in parts] for name in parts[0]}, special)
    except (ArgumentError, ArgumentTypeError):
        for row, part in zip(rows, parts, strict=True):
            _require_whole(row, part, special)
        raise
    told = (
        replace(
            shown,
            names=(str(row.place),) * (1 if shown.document is None else int(shown.document.max(initial=-1)) + 1),
            sources=(row.place.source,) * (1 if shown.document is None else int(shown.document.max(initial=-1)) + 1),
        )
        for row, shown in zip(rows, made.rows, strict=True)
    )
    return replace(made, rows=tuple(told))


def _require_whole(row: Row, columns: _Columns, special: SpecialIds) -> None:
    try:
        batch_rows({name: [value] for name, value in columns.items()}, special)
    except (ArgumentError, ArgumentTypeError) as error:
        raise InputError(f"{row.place}: {error.message.marked}") from None


def _columns(row: Row) -> dict[str, Any]:
    """What is read of a row, with labels."""
    columns = {name: row.columns[name] for name in _COLUMNS if row.columns.get(name) is not None}
    if any(name in columns for name in ("labels", *MASKS)):
        labels = columns.get("labels", columns["input_ids"])
        for name in [name for name in MASKS if name in columns]:
            mask = columns.pop(name)
            require(
                len(mask) == len(labels), f"{row.place}: {name}", f"have {len(labels)} entries, as labels", len(mask)
            )
            labels = np.where(np.asarray(mask) == 1, np.asarray(labels), IGNORE_INDEX).tolist()
        return columns | {"labels": labels}
    labels, mask = columns["input_ids"], columns.get("attention_mask")
    if mask is not None and len(mask) == len(labels):
        labels = np.where(np.asarray(mask) != 0, np.asarray(labels), IGNORE_INDEX).tolist()
    return columns | {"labels": labels}
