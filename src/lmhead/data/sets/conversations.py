"""Files of conversations -> labelled ones to train on and to hold out; those that cannot be labelled stop the run.

Where `on_error` is skip, they are left out, counted and listed.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lmhead.data.formats.formats import format_of
from lmhead.data.labelling.label_files import label_selection
from lmhead.data.labelling.outcome import Labelled
from lmhead.data.labelling.recipe import Recipe
from lmhead.data.labelling.survey import Survey
from lmhead.data.rows.format_columns import TEXT
from lmhead.data.rows.progress import Progress
from lmhead.data.rows.read_rows import read_rows
from lmhead.data.rows.selection import BROKEN, Selection
from lmhead.data.sets.held_out import held_out
from lmhead.data.sets.refusals import json_lines, kinds, stopped, tell_refused
from lmhead.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversations:
    """What was labelled, in the order of the files."""

    formats: Counter[str]  # rows by format
    train: list[Labelled]
    held_out: list[Labelled]
    refused: list[Labelled]
    told: tuple[str, ...]  # what was taken of folders, and what was left out
    survey: Survey  # what all rows were found to be


def labelled_format(selection: Selection, format: str | None = None) -> str | None:
    """The name of the data's format where it has to be labelled; None where it is plain text.

    Args:
        format: as ChatConfig has it; None: the first row of a file that is to be labelled says it.

    Raises:
        InputError: a first row cannot be read, or has the columns of no format.
    """
    if format is not None:
        return None if format == TEXT else format
    formats = (name for one in selection.of_each_path() for name in _formats(one))
    return next((name for name in formats if name not in (None, TEXT, BROKEN)), None)


def _formats(one: Selection) -> Iterator[str | None]:
    """Of the files of one path. Those of a folder were told apart by them; what was named itself is looked into now."""
    (files,) = one.files
    if files is not None and not (files[0].named and files[0].kind != "text"):
        yield from (file.format for file in files)
        return
    row = next(read_rows(one), None)
    yield TEXT if row is None or (not row.columns and TEXT in row.nulls) else format_of(row).name


def _content(row: Labelled) -> Hashable:
    """Equal for equal conversations."""
    return row.place if row.example is None else hashlib.sha256(row.example.ids.tobytes()).digest()


def read_conversations(
    selection: Selection,
    recipe: Recipe,
    *,
    held_out_share: float,
    note: Callable[[str], None],
    progress: Progress,
    list_refused: Callable[[str], None],
) -> Conversations:
    """Every row of the data, labelled and split.

    Args:
        held_out_share: of the rows.
        list_refused: is given all refused rows as JSON lines, where they are skipped.

    Raises:
        InputError: a row cannot be labelled and is not to be skipped, or nothing is left to train on or to hold out.
    """
    config = recipe.config
    cache = None if config.cache is None else Path(config.cache)
    labelled = label_selection(selection, recipe, workers=config.workers, cache=cache, progress=progress)
    for text in labelled.notes:
        note(text)
    rows = list(labelled)
    for row in rows:
        if row.example is not None:
            labelled.survey.take(row.place, row.example)
    names = map(selection.names(), (row.place for row in rows))
    apart = held_out(names, held_out_share, contents=[*map(_content, rows)])
    found = Conversations(
        formats=labelled.formats,
        train=[row for index, row in enumerate(rows) if row.example is not None and not apart[index]],
        held_out=[row for index, row in enumerate(rows) if row.example is not None and apart[index]],
        refused=[row for row in rows if row.refusal is not None],
        told=labelled.told,
        survey=labelled.survey,
    )
    if found.refused:
        tell_refused(found.refused, len(rows), note)
        if config.on_error == "stop":
            raise InputError(stopped(found.refused, len(rows)))
        list_refused(json_lines(found.refused))
    _require_something(found, len(rows), ", ".join(selection.source.paths))
    return found


def _require_something(found: Conversations, rows: int, paths: str) -> None:
    """Refuse what leaves nothing to train on or nothing to hold out."""
    reasons = f" ({kinds(found.refused)})" if found.refused else ""
    if not found.train and not found.held_out:
        raise InputError(
            f"{paths} must hold something to learn, got 0 trained tokens in {rows:,} conversations{reasons}: "
            "the lines above say what each one lacks"
        )
    for what, there in (("train on", found.train), ("hold out", found.held_out)):
        if not there:
            left = f"{rows - len(found.refused):,} of {rows:,}{reasons}" if found.refused else f"{rows:,}"
            raise InputError(
                f"{paths} must leave a conversation to {what}, got {left} that can be trained on: give more of them, "
                "two different ones at least"
            )
