"""Texts -> documents to train on and documents that are held out. Files and folders, or Python's standard library."""

import os
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from lmhead.data.formats.formats import read_samples
from lmhead.data.formats.sample import TextSample
from lmhead.data.formats.unread import Unread
from lmhead.data.rows.folder import Wanted
from lmhead.data.rows.format_columns import TEXT
from lmhead.data.rows.hub_rows import PREFIX
from lmhead.data.rows.progress import Progress, unheard
from lmhead.data.rows.reading import Reading
from lmhead.data.rows.renames import Renames
from lmhead.data.rows.row_files import DataFile
from lmhead.data.rows.selection import select
from lmhead.data.rows.streams import is_stream
from lmhead.data.sets.documents import Document, Documents, DocumentsBuilder
from lmhead.data.sets.held_out import held_out_keys
from lmhead.errors import InputError
from lmhead.training.config import DataConfig

__all__ = ["Corpus", "Document", "absolute_paths", "read_corpus"]

_NOT_OURS: Final = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "_bundled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Documents to train on, and documents that are never trained on, though one may be the end of another."""

    source: str
    train: Documents
    held_out: Documents
    told: tuple[str, ...] = ()  # what was taken of folders, what was left out, what is odd
    unread: Unread = field(default_factory=Unread)  # columns that nothing reads


def read_corpus(config: DataConfig, progress: Progress = unheard, *, columns: str | None = None) -> Corpus:
    """Every document, split: the documents whose names hash lowest are held out, whatever else is in the data.

    Equal documents are held out together. Where all are equal, as one alone is, the end of the text is held out.

    Args:
        columns: what is to be renamed, as ChatConfig has it.

    Raises:
        InputError: a path does not exist or is given twice, or a file is empty, damaged, not UTF-8, or has rows
            without text.
    """
    builder = DocumentsBuilder()
    told: list[str] = []
    unread = Unread()
    if config.paths:
        told, unread = _read(config, Renames.of(columns), builder, progress)
    else:
        for relative, text in standard_library():
            builder.add(text, source=relative, name=relative)
    documents = builder.documents()
    source = ", ".join(config.paths) or "the Python standard library"
    if not documents:
        raise InputError(f"{source} must hold some text, got none{''.join(f'; {line}' for line in told)}")
    contents = builder.contents()
    if not contents.any():
        return replace(_split_one(source, documents, config.held_out, told), unread=unread)
    apart = held_out_keys(builder.keys(), config.held_out, contents=contents)
    return Corpus(
        source=source, train=documents.chosen(~apart), held_out=documents.chosen(apart), told=tuple(told), unread=unread
    )


def absolute_paths(config: DataConfig) -> DataConfig:
    """The same data, found from any working directory; names on the Hub, pipes and standard input stay as they are."""
    kept = (
        path if path.startswith(PREFIX) or is_stream(path) else os.path.normpath(Path.cwd() / path)
        for path in config.paths
    )
    return replace(config, paths=tuple(kept))


def standard_library_files() -> Iterator[Path]:
    """Python's own source on this machine, tests and installed packages left out, in the order of the paths."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        if _NOT_OURS.isdisjoint(path.relative_to(root).parts):
            yield path


def standard_library() -> Iterator[tuple[str, str]]:
    """(path within the library, text) of each file."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in standard_library_files():
        try:
            text = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            continue  # a few distributions ship sources in other encodings
        if text.strip():
            yield path.relative_to(root).as_posix(), text


def _split_one(source: str, documents: Documents, share: float, told: list[str]) -> Corpus:
    """One text, or several equal ones: what the end of it is held out of all of them."""
    raw = bytes(documents.utf8(0))
    bound = int(len(raw) * (1 - share))
    while bound > 0 and raw[bound] & 0xC0 == 0x80:  # inside a character
        bound -= 1
    cut = raw.rfind(b"\n", 0, bound) + 1 or bound
    if raw.find(raw[cut:], 0, cut) >= 0:
        told = [
            *told,
            "held out: the end of the text, which stands in the text before it too: its figures mean little",
        ]
    train, ends = documents.cut(np.full(len(documents), cut))
    first = np.arange(len(documents)) == 0
    return Corpus(source=source, train=train, held_out=ends.chosen(first), told=tuple(told))


def _read(
    config: DataConfig, columns: Renames, builder: DocumentsBuilder, progress: Progress
) -> tuple[list[str], Unread]:
    """Read the files into `builder`; what is to be told of them, and what of them is not read."""
    files = _files(config, columns, progress)
    samples = read_samples(
        config.paths,
        format=TEXT,
        pattern=config.pattern,
        exclude=config.exclude,
        errors=config.errors,
        columns=columns,
        progress=progress,
    )
    for sample in samples:
        assert isinstance(sample, TextSample)
        source, file = sample.place.source, files.get(sample.place.source)
        number = None if file is not None and file.kind == "text" else sample.place.number
        builder.add(sample.text, source=Path(source).as_posix(), name=file.name if file else source, number=number)
    return list(samples.reading.lines()), samples.unread


def _files(config: DataConfig, columns: Renames, progress: Progress) -> dict[str, DataFile]:
    """Every file that is going to be read, by what places call it.

    Raises:
        InputError: a file comes with two of the paths.
    """
    wanted = Wanted(pattern=config.pattern, exclude=config.exclude, columns=columns)
    givers: dict[str, str] = {}  # a file's real path -> which of config.paths it came with
    files: dict[str, DataFile] = {}
    for index, given in enumerate(config.paths):
        for file in [] if given.startswith(PREFIX) else select(given, wanted, Reading(), progress):
            giver = givers.setdefault(file.real, f"{index} {given}")
            if giver != f"{index} {given}":
                raise InputError(
                    f"{file.source} is given twice, with {giver.partition(' ')[2]} and with {given}: give it once, "
                    "or it weighs twice as much"
                )
            files[file.source] = file
    return files
