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

from lmhead.data.formats import format_of, read_samples
from lmhead.data.labelled import Labelled
from lmhead.data.labelling import label_files
from lmhead.data.recipe import Recipe
from lmhead.data.rows import read_rows
from lmhead.data.sample import Place, Sample
from lmhead.errors import InputError
from lmhead.training.config import TrainConfig
from lmhead.training.held_out import held_out
from lmhead.training.message_texts import message_texts
from lmhead.training.refusals import json_lines, kinds, stopped, tell_refused

TEXT: Final = "text"  # the format of which texts are trained end to end, unlabelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversations:
    """What was labelled, in the order of the files."""

    formats: Counter[str]  # rows by format
    train: list[Labelled]
    held_out: list[Labelled]
    refused: list[Labelled]


def labelled_format(config: TrainConfig) -> str | None:
    """The name of the data's format where it has to be labelled; None where it is plain text.

    The config says it, or the first row does.

    Raises:
        InputError: the first row cannot be read, or has the columns of no format.
    """
    paths = config.data.paths
    if not paths or config.chat.format == TEXT:
        return None
    if config.chat.format is not None:
        return config.chat.format
    try:
        rows = read_rows(paths[:1], pattern=config.data.pattern, errors=config.data.errors)
        row = next(rows, None)
        name = TEXT if row is None else format_of(row).name
    except InputError:
        if Path(paths[0]).is_dir():  # of files of all kinds, whichever comes first: they are read as texts
            return None
        raise
    return None if name == TEXT else name


def split_texts(config: TrainConfig, broken: dict[Place, str]) -> Iterator[str]:
    """The texts of the samples that are not held out, for a tokenizer to be trained on; as `message_texts` has them.

    Args:
        broken: is given the rows that cannot be read, which are left out, and why.
    """
    places: list[Place] = []
    contents: list[Hashable] = []
    for place, texts in _placed_texts(config, broken):
        places.append(place)
        contents.append(_digest(json.dumps(texts).encode()) if texts else name_of(place))
    names = [name_of(place) for place in [*places, *broken]]
    contents += names[len(places) :]
    apart = {names[index] for index in held_out(names, config.data.held_out, contents=contents)}
    return (text for place, texts in _placed_texts(config, broken) if name_of(place) not in apart for text in texts)


def _placed_texts(config: TrainConfig, broken: dict[Place, str]) -> Iterator[tuple[Place, list[str]]]:
    places, samples = tee(_samples(config, broken))
    return zip((sample.place for sample in places), message_texts(samples), strict=True)


def _samples(config: TrainConfig, broken: dict[Place, str]) -> Iterator[Sample]:
    return iter(
        read_samples(
            config.data.paths,
            format=config.chat.format,
            pattern=config.data.pattern,
            errors=config.data.errors,
            on_error=lambda place, error: broken.update({place: str(error)}),
        )
    )


def _content(row: Labelled) -> Hashable:
    """Equal for equal conversations."""
    return name_of(row.place) if row.example is None else _digest(row.example.ids.tobytes())


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def name_of(place: Place) -> str:
    """The name by which a row is held out or not, the same as that of a row of text."""
    return f"{place.source}:{place.number}"


def read_conversations(
    config: TrainConfig,
    recipe: Recipe,
    note: Callable[[str], None],
    progress: Callable[[int], None] | None,
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
        errors=config.data.errors,
        workers=config.chat.workers,
        cache=cache,
        progress=progress,
    )
    for text in labelled.notes:
        note(text)
    rows = list(labelled)
    apart = held_out([name_of(row.place) for row in rows], config.data.held_out, contents=[*map(_content, rows)])
    found = Conversations(
        formats=labelled.formats,
        train=[row for index, row in enumerate(rows) if row.example is not None and index not in apart],
        held_out=[row for index, row in enumerate(rows) if row.example is not None and index in apart],
        refused=[row for row in rows if row.refusal is not None],
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
