"""Texts -> documents to train on and documents that are held out. Files and folders, or Python's standard library."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lmhead.data.formats.formats import Samples
from lmhead.data.formats.sample import TextSample
from lmhead.data.formats.unread import Unread
from lmhead.data.rows.format_columns import TEXT
from lmhead.data.rows.progress import Progress, unheard
from lmhead.data.rows.row_files import DataFile
from lmhead.data.rows.selection import Selection
from lmhead.data.sets.documents import Documents, DocumentsBuilder
from lmhead.data.sets.held_out import held_out_keys
from lmhead.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Documents to train on, and documents that are never trained on, though one may be the end of another."""

    source: str
    train: Documents
    held_out: Documents
    told: tuple[str, ...] = ()  # what was taken of folders, what was left out, what is odd
    unread: Unread = field(default_factory=Unread)  # columns that nothing reads


def read_corpus(selection: Selection, *, held_out_share: float, progress: Progress = unheard) -> Corpus:
    """Every document, split: the documents whose names hash lowest are held out, whatever else is in the data.

    Equal documents are held out together. Where all are equal, as one alone is, the end of the text is held out.

    Args:
        held_out_share: of the documents.

    Raises:
        InputError: a file is given twice, is empty, damaged, not UTF-8, or has rows without text.
    """
    source = ", ".join(selection.source.paths)
    builder = DocumentsBuilder()
    samples = _read(selection, builder, progress)
    told, unread = tuple(samples.reading.lines()), samples.unread
    documents = builder.documents()
    if not documents:
        raise InputError(f"{source} must hold some text, got none{''.join(f'; {line}' for line in told)}")
    contents = builder.contents()
    if not contents.any():
        train, end, odd = _split_one(documents, held_out_share)
        return Corpus(source=source, train=train, held_out=end, told=told + odd, unread=unread)
    apart = held_out_keys(builder.keys(), held_out_share, contents=contents)
    return Corpus(
        source=source, train=documents.chosen(~apart), held_out=documents.chosen(apart), told=told, unread=unread
    )


def _read(selection: Selection, builder: DocumentsBuilder, progress: Progress) -> Samples:
    """Read the files into `builder`; what was met on the way."""
    files = _files(selection)
    samples = Samples(selection, format=TEXT, progress=progress)
    for sample in samples:
        assert isinstance(sample, TextSample)
        source, file = sample.place.source, files.get(sample.place.source)
        number = None if file is not None and file.kind == "text" else sample.place.number
        builder.add(
            sample.text,
            source=Path(source).as_posix(),
            name=file.name if file else source,
            number=number,
            group=sample.place.group,
        )
    return samples


def _files(selection: Selection) -> dict[str, DataFile]:
    """Every file, by what places call it.

    Raises:
        InputError: a file comes with two of the paths.
    """
    givers: dict[str, Selection] = {}  # a file's real path -> what it came with
    files: dict[str, DataFile] = {}
    for one in selection.of_each_path():
        for file in one.every_file() or ():
            giver = givers.setdefault(file.real, one)
            if giver is not one:
                raise InputError(
                    f"{file.source} is given twice, with {giver.source.paths[0]} and with {one.source.paths[0]}: "
                    "give it once, or it weighs twice as much"
                )
            files[file.source] = file
    return files


def _split_one(documents: Documents, share: float) -> tuple[Documents, Documents, tuple[str, ...]]:
    """One text, or several equal ones: what the end of it is held out of all of them, and what is odd about that."""
    raw = bytes(documents.utf8(0))
    bound = int(len(raw) * (1 - share))
    while bound > 0 and raw[bound] & 0xC0 == 0x80:  # inside a character
        bound -= 1
    cut = raw.rfind(b"\n", 0, bound) + 1 or bound
    odd = "held out: the end of the text, which stands in the text before it too: its figures mean little"
    train, ends = documents.cut(np.full(len(documents), cut))
    first = np.arange(len(documents)) == 0
    return train, ends.chosen(first), (odd,) if raw.find(raw[cut:], 0, cut) >= 0 else ()
