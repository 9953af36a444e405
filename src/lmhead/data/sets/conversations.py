"""Files of conversations -> labelled ones to train on and to hold out; those that cannot be labelled stop the run.

Where `on_error` is skip, they are left out, counted and listed.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import Final

from lmhead.data.formats.formats import format_of, read_samples
from lmhead.data.formats.sample import Sample
from lmhead.data.labelling.label_files import label_files
from lmhead.data.labelling.outcome import Labelled
from lmhead.data.labelling.recipe import Recipe
from lmhead.data.rows.folder import Wanted
from lmhead.data.rows.format_columns import TEXT
from lmhead.data.rows.hub_rows import PREFIX
from lmhead.data.rows.progress import Progress, unheard
from lmhead.data.rows.read_rows import read_rows
from lmhead.data.rows.reading import Reading
from lmhead.data.rows.renames import Renames
from lmhead.data.rows.row import Place
from lmhead.data.rows.selection import BROKEN, select, select_all
from lmhead.data.sets.held_out import held_out
from lmhead.data.sets.message_texts import message_texts
from lmhead.data.sets.refusals import json_lines, kinds, stopped, tell_refused
from lmhead.errors import InputError
from lmhead.training.config import TrainConfig
from lmhead.training.findings import told_of

_SOME: Final = 2**20  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversations:
    """What was labelled, in the order of the files."""

    formats: Counter[str]  # rows by format
    train: list[Labelled]
    held_out: list[Labelled]
    refused: list[Labelled]
    told: tuple[str, ...]  # what was taken of folders, what was left out, and what the doctor would call wrong


def labelled_format(config: TrainConfig, progress: Progress = unheard) -> str | None:
    """The name of the data's format where it has to be labelled; None where it is plain text.

    The config says it, or the first row of a file that is to be labelled does.

    Raises:
        InputError: a path cannot be read, or a first row has the columns of no format.
    """
    data = config.data
    if not data.paths or config.chat.format == TEXT:
        return None
    if config.chat.format is not None:
        return config.chat.format
    wanted = wanted_of(config)
    for given in data.paths:
        files = [None] if given.startswith(PREFIX) else select(given, wanted, Reading(), progress)
        for file in files:
            if file is not None and file.kind == "text":
                continue
            name = file.format if file is not None and not file.named else _first_format(given, config)
            if name not in (None, TEXT, BROKEN):
                return name
    return None


def _first_format(given: str, config: TrainConfig) -> str:
    """The format of the first row of a file that was named, or of the Hub; a row without text is one of text."""
    row = next(read_rows([given], errors=config.data.errors, columns=config.chat.columns), None)
    if row is None or (not row.columns and TEXT in row.nulls):
        return TEXT
    return format_of(row).name


def split_texts(config: TrainConfig, broken: dict[Place, str], progress: Progress = unheard) -> Iterator[str]:
    """The texts of the samples that are not held out, for a tokenizer to be trained on; as `message_texts` has them.

    Args:
        broken: is given the rows that cannot be read, which are left out, and why.
    """
    places: list[Place] = []
    contents: list[Hashable] = []
    for place, texts in _placed_texts(config, broken, progress):
        places.append(place)
        contents.append(_digest(json.dumps(texts).encode()) if texts else place)
    name_of = _names(config)
    every = [*places, *broken]
    chosen = held_out(map(name_of, every), config.data.held_out, contents=[*contents, *broken])
    apart = {place for place, out in zip(every, chosen, strict=True) if out}
    return (text for place, texts in _placed_texts(config, broken, progress) if place not in apart for text in texts)


def some_texts(config: TrainConfig) -> Iterator[str]:
    """The texts of the first samples, held out or not, about a megabyte; as `message_texts` has them."""
    room = _SOME
    for _, texts in _placed_texts(config, {}, unheard):
        yield from texts
        room -= sum(map(len, texts))
        if room < 0:
            return


def _placed_texts(
    config: TrainConfig, broken: dict[Place, str], progress: Progress
) -> Iterator[tuple[Place, list[str]]]:
    places, samples = tee(_samples(config, broken, progress))
    return zip((sample.place for sample in places), message_texts(samples), strict=True)


def _samples(config: TrainConfig, broken: dict[Place, str], progress: Progress) -> Iterator[Sample]:
    return iter(
        read_samples(
            config.data.paths,
            format=config.chat.format,
            pattern=config.data.pattern,
            exclude=config.data.exclude,
            errors=config.data.errors,
            columns=config.chat.columns,
            on_error=lambda place, error: broken.update({place: error.message}),
            progress=progress,
        )
    )


def _content(row: Labelled) -> Hashable:
    """Equal for equal conversations."""
    return row.place if row.example is None else _digest(row.example.ids.tobytes())


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def wanted_of(config: TrainConfig) -> Wanted:
    """Which files are taken, and what their columns are called."""
    data = config.data
    return Wanted(pattern=data.pattern, exclude=data.exclude, columns=Renames.of(config.chat.columns))


def _names(config: TrainConfig) -> Callable[[Place], str]:
    """The name by which a row is held out or not: of its file within what was given, and the row's number."""
    selected = select_all(config.data.paths, wanted_of(config), Reading())
    files = {file.source: file.name for file in selected or ()}
    return lambda place: f"{files.get(place.source, place.source)}:{place.number}"


def read_conversations(
    config: TrainConfig,
    recipe: Recipe,
    note: Callable[[str], None],
    progress: Progress,
    list_refused: Callable[[str], None],
) -> Conversations:
    """Every row of the data, labelled and split.

    Args:
        list_refused: is given all refused rows as JSON lines, where they are skipped.

    Raises:
        InputError: a row cannot be labelled and is not to be skipped, or nothing is left to train on or to hold out.
    """
    cache = None if config.chat.cache is None else Path(config.chat.cache)
    labelled = label_files(
        config.data.paths,
        recipe,
        pattern=config.data.pattern,
        exclude=config.data.exclude,
        errors=config.data.errors,
        workers=config.chat.workers,
        cache=cache,
        progress=progress,
    )
    for text in labelled.notes:
        note(text)
    rows = list(labelled)
    for row in rows:
        if row.example is not None:
            labelled.survey.take(row.place, row.example)
    names = map(_names(config), (row.place for row in rows))
    apart = held_out(names, config.data.held_out, contents=[*map(_content, rows)])
    found = Conversations(
        formats=labelled.formats,
        train=[row for index, row in enumerate(rows) if row.example is not None and not apart[index]],
        held_out=[row for index, row in enumerate(rows) if row.example is not None and apart[index]],
        refused=[row for row in rows if row.refusal is not None],
        told=(*labelled.told, *told_of(labelled.survey, recipe)),
    )
    if found.refused:
        tell_refused(found.refused, len(rows), note)
        if config.chat.on_error == "stop":
            raise InputError(stopped(found.refused, len(rows)))
        list_refused(json_lines(found.refused))
    _require_something(found, len(rows), config)
    return found


def _require_something(found: Conversations, rows: int, config: TrainConfig) -> None:
    """Refuse what leaves nothing to train on or nothing to hold out."""
    paths = ", ".join(config.data.paths)
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
