"""trained_on: which documents of given data a run was trained on: those of the same files that it did not hold out."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import final

import numpy as np

from lmhead.data.formats.formats import Samples
from lmhead.data.formats.sample import Sample, TextSample
from lmhead.data.rows.format_columns import TEXT
from lmhead.data.rows.reading import counted
from lmhead.data.rows.row import Place
from lmhead.data.rows.row_files import DataFile
from lmhead.data.rows.selection import Selection
from lmhead.data.rows.streams import is_stream
from lmhead.data.sets.conversations import labelled_format
from lmhead.data.sets.held_out import held_out_keys, key_of
from lmhead.errors import InputError
from lmhead.evaluation.documents.held_out_documents import data_of
from lmhead.shown import shown_line
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.run.run_folder import RunFolder

_Where = tuple[str, int]  # a file's path without links, or a data set's name; and the row in it


@final
class TrainedOn:
    """Counts documents that a run was trained on, as they pass."""

    def __init__(self, name: str, real: dict[str, str], trained: frozenset[_Where]) -> None:
        self._name, self._real, self._trained = name, real, trained
        self.documents = 0  # that were seen
        self.trained = 0  # of these

    def see(self, place: Place) -> bool:
        """Whether the run was trained on the document at a place; it is counted."""
        found = (self._real.get(place.source, place.source), place.number) in self._trained
        self.documents += 1
        self.trained += found
        return found

    def line(self) -> str | None:
        """What has to be said of the documents that were seen; None where none of them was trained on."""
        if not self.trained:
            return None
        of = counted(self.documents, "document")
        were = "was" if self.trained == 1 else "were"
        return f"{self.trained:,} of {of} {were} trained on by {shown_line(self._name)}"


def trained_on(run: Path, selection: Selection) -> TrainedOn | None:
    """What tells of each document of the data whether a run was trained on it. None where they share no file.

    The run's data are read once, if they share one: the split depends on all. A copy of a file under another path is
    not known. Data that changed since are split as they are now.

    Args:
        run: its folder.

    Raises:
        InputError: there is no such run.
    """
    config = RunFolder.open(run).config()
    if any(map(is_stream, config.data.paths)):
        return None
    try:
        own = data_of(config)
        if _names(own).isdisjoint(_names(selection)):
            return None
        trained = frozenset(_trained(config, own))
    except InputError:  # what is gone is given to nobody
        return None
    return TrainedOn(str(run), _real(selection), trained)


def _trained(config: TrainConfig, selection: Selection) -> Iterator[_Where]:
    """Where the documents stand that were not held out, by the rules of texts and of conversations."""
    format = labelled_format(selection, config.chat.format)
    samples = Samples(selection, format=TEXT if format is None else config.chat.format, on_error=_left)
    files = {file.source: file for file in selection.every_file() or ()}
    where: list[_Where] = []
    keys, contents = [], []
    for sample in samples:
        file = files.get(sample.place.source)
        where.append((file.real if file else sample.place.source, sample.place.number))
        keys.append(key_of(_name(sample, file, texts=format is None)))
        contents.append(_content(sample))
    numbers = np.unique(np.array(contents), return_inverse=True)[1]
    if format is None and not numbers.any():  # all are one text, of which the end is held out
        yield from where
        return
    apart = held_out_keys(np.array(keys, np.uint64), config.data.held_out, contents=numbers)
    yield from (each for each, out in zip(where, apart.tolist(), strict=True) if not out)


def _name(sample: Sample, file: DataFile | None, *, texts: bool) -> str:
    """By which it was held out or not: a file that is one text has no number among texts."""
    name = file.name if file else sample.place.source
    whole = texts and file is not None and file.kind == "text"
    return name if whole else f"{name}:{sample.place.number}"


def _content(sample: Sample) -> str:
    """Equal for equal rows."""
    text = sample.text if isinstance(sample, TextSample) else repr(_without_place(sample))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _without_place(sample: Sample) -> list[object]:
    return [getattr(sample, name) for name in sample.__slots__ if name != "place"]


def _left(place: Place, error: InputError) -> None:
    """The run left it out, too."""


def _names(selection: Selection) -> set[str]:
    """Files without links, and data sets."""
    hub = [path for path, files in zip(selection.source.paths, selection.files, strict=True) if files is None]
    return {*hub, *_real(selection).values()}


def _real(selection: Selection) -> dict[str, str]:
    return {file.source: file.real for files in selection.files for file in files or ()}
