"""Text on disk -> documents. Files, folders, JSONL and Parquet with a `text` column, or Python's standard library."""

import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmhead.data.arrow_file import open_parquet, parquet_rows
from lmhead.data.json_file import json_lines, json_rows
from lmhead.data.row_error import listed
from lmhead.data.row_files import data_suffix, files
from lmhead.data.sample import Place
from lmhead.data.text_file import Errors, read_text
from lmhead.errors import InputError
from lmhead.training.config import DataConfig
from lmhead.training.held_out import held_out

_NOT_OURS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "_bundled"}
_OTHERWISE = " with --data.pattern, or pass --errors replace"
_SURROGATES = re.compile("[\ud800-\udfff]")  # halves of a pair: JSON can write one alone, UTF-8 cannot


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One text, and where it came from: a path, or path:line of a row."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Documents to train on, and documents that are never trained on."""

    source: str
    train: list[Document]
    held_out: list[Document]


def read_corpus(config: DataConfig) -> Corpus:
    """Every document, split: the documents whose names hash lowest are held out, whatever else is in the data.

    A single document is split at a line end instead.

    Raises:
        InputError: a path does not exist or is given twice, or a file is empty, damaged, not UTF-8, or has rows
            without text.
    """
    documents = list(_standard_library() if not config.paths else _documents(config))
    source = ", ".join(config.paths) or "the Python standard library"
    if not documents:
        raise InputError(f"no text in {source}: give a file, a folder, .jsonl or .parquet that holds some")
    if len(documents) == 1:
        return _split_one(source, documents[0], config.held_out)
    apart = held_out([document.name for document in documents], config.held_out)
    return Corpus(
        source=source,
        train=[document for index, document in enumerate(documents) if index not in apart],
        held_out=[document for index, document in enumerate(documents) if index in apart],
    )


def _split_one(source: str, document: Document, share: float) -> Corpus:
    text = document.text
    cut = text.rfind("\n", 0, int(len(text) * (1 - share))) + 1 or int(len(text) * (1 - share))
    return Corpus(
        source=source,
        train=[Document(name=document.name, text=text[:cut])],
        held_out=[Document(name=f"{document.name} (its end)", text=text[cut:])],
    )


def _standard_library() -> Iterator[Document]:
    """Python's own source on this machine, tests and installed packages left out, in the order of the paths."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if _NOT_OURS.isdisjoint(relative.parts):
            try:
                text = path.read_bytes().decode("utf-8")
            except UnicodeDecodeError:
                continue  # a few distributions ship sources in other encodings
            if text.strip():
                yield Document(name=relative.as_posix(), text=text)


def _documents(config: DataConfig) -> Iterator[Document]:
    givers: dict[Path, int] = {}  # a file's real path -> which of config.paths it came with
    for index, given in enumerate(config.paths):
        for path in files(given, config.pattern):
            giver = givers.setdefault(path.resolve(), index)
            if giver != index:
                raise InputError(
                    f"{path} is given twice, with {config.paths[giver]} and with {given}: give it once, "
                    "for the second copy of what is held out would be trained on"
                )
            found = list(_file(path, config.errors))
            if path == Path(given) and not found:
                raise InputError(f"{path} is empty: there is nothing to train on")
            yield from found


def _file(path: Path, errors: Errors) -> Iterator[Document]:
    """A file of any name but those of JSONL and Parquet is one text: JSON too, unless it holds rows of text."""
    suffix = data_suffix(path)
    if suffix == ".parquet":
        yield from _parquet(path)
    elif suffix in (".jsonl", ".ndjson"):
        yield from _texts(path, json_lines(path, errors, otherwise=_OTHERWISE), errors)
    elif suffix == ".json" and _holds_rows(path, errors):
        yield from _texts(path, json_rows(path, errors), errors)
    elif text := read_text(path, errors, otherwise=_OTHERWISE):
        yield Document(name=path.as_posix(), text=text)


def _holds_rows(path: Path, errors: Errors) -> bool:
    try:
        _, first = next(json_rows(path, errors), (None, None))
    except InputError:
        return False
    return isinstance(first, dict) and isinstance(first.get("text"), str)


def _texts(path: Path, rows: Iterator[tuple[Place, Any]], errors: Errors) -> Iterator[Document]:
    for place, row in rows:
        if isinstance(row, InputError):
            raise row
        columns = list(row) if isinstance(row, dict) else None
        if columns is None or not isinstance(row.get("text"), str):
            found = f"the columns {listed(columns)}" if columns else type(row).__name__
            raise InputError(
                f'{place} has no text, got {found}: each line must be an object with a string "text"; '
                "conversations are named before texts"
            )
        half = _SURROGATES.search(row["text"])
        if half and errors == "strict":
            raise InputError(
                f"{place} is no Unicode text: \\u{ord(half[0]):04x} at character {half.start()} "
                "is half of a pair; mend the row, leave it out, or pass --errors replace"
            )
        if row["text"]:
            yield Document(name=f"{path.as_posix()}:{place.number}", text=_SURROGATES.sub("\ufffd", row["text"]))


def _parquet(path: Path) -> Iterator[Document]:
    schema = open_parquet(path).schema_arrow
    if "text" not in schema.names:
        raise InputError(
            f'{path} has no text, got the columns {listed(schema.names)}: it must have a string column "text"'
        )
    kind = schema.field(schema.names.index("text")).type
    values = getattr(kind, "value_type", kind) if str(kind).startswith("dictionary") else kind
    if str(values) not in ("string", "large_string", "string_view"):
        raise InputError(f'{path} must have a string column "text", got one of {kind}: convert it to strings')
    for place, row in parquet_rows(path, columns=["text"]):
        if row.get("text"):
            yield Document(name=f"{path.as_posix()}:{place.number}", text=row["text"])
