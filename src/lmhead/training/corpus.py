"""Text on disk -> documents. Files, folders, JSONL and Parquet with a `text` column, or Python's standard library."""

import fnmatch
import hashlib
import json
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lmhead.errors import InputError
from lmhead.training.config import DataConfig

_NOT_OURS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "_bundled"}


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
        InputError: a path does not exist, or a file is empty, not UTF-8, or has rows without text.
    """
    documents = list(_standard_library() if not config.paths else _documents(config))
    source = ", ".join(config.paths) or "the Python standard library"
    if not documents:
        raise InputError(f"no text in {source}: give a file, a folder, .jsonl or .parquet that holds some")
    if len(documents) == 1:
        return _split_one(source, documents[0], config.held_out)
    ranked = sorted(documents, key=lambda document: hashlib.sha256(f"held out:{document.name}".encode()).digest())
    count = min(max(1, round(len(documents) * config.held_out)), len(documents) - 1)
    held_out = {id(document) for document in ranked[:count]}
    return Corpus(
        source=source,
        train=[document for document in documents if id(document) not in held_out],
        held_out=[document for document in documents if id(document) in held_out],
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
    for given in config.paths:
        path = Path(given)
        if path.is_dir():
            yield from _folder(path, config)
        elif path.exists():
            found = list(_file(path, config.errors))
            if not any(document.text for document in found):
                raise InputError(f"{path} is empty: there is nothing to train on")
            yield from found
        else:
            raise InputError(f"no such file or folder: {path}")


def _folder(folder: Path, config: DataConfig) -> Iterator[Document]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden and fnmatch.fnmatch(path.name, config.pattern) and path.stat().st_size:
            yield from _file(path, config.errors)


def _file(path: Path, errors: Literal["strict", "replace"]) -> Iterator[Document]:
    if path.suffix == ".parquet":
        yield from _parquet(path)
        return
    text = _decode(path, errors)
    if path.suffix in (".jsonl", ".ndjson"):
        yield from _json_lines(path, text)
    else:
        yield Document(name=path.as_posix(), text=text)


def _decode(path: Path, errors: Literal["strict", "replace"]) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    try:
        return raw.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8: byte 0x{raw[error.start]:02x} at position {error.start}; "
            "convert it, leave it out with --data.pattern, or pass --errors replace"
        ) from None


def _json_lines(path: Path, text: str) -> Iterator[Document]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {number} is not JSON: {error.msg} at column {error.colno}") from None
        columns = list(row) if isinstance(row, dict) else None
        if columns is None or not isinstance(row.get("text"), str):
            found = f"the columns {', '.join(columns)}" if columns else type(row).__name__
            raise InputError(
                f'{path}, line {number} has no text, got {found}: each line must be an object with a string "text"'
            )
        if row["text"]:
            yield Document(name=f"{path.as_posix()}:{number}", text=row["text"])


def _parquet(path: Path) -> Iterator[Document]:
    try:
        import pyarrow.parquet
    except ImportError:
        raise InputError(f'{path} needs pyarrow to be read: pip install "lmhead[parquet]"') from None
    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"{path} is not a Parquet file: {' '.join(str(error).split())}") from None
    if "text" not in file.schema_arrow.names:
        columns = ", ".join(file.schema_arrow.names)
        raise InputError(f'{path} has no text, got the columns {columns}: it must have a string column "text"')
    number = 0
    for batch in file.iter_batches(columns=["text"]):
        for text in batch.column(0).to_pylist():
            number += 1
            if text:
                yield Document(name=f"{path.as_posix()}:{number}", text=str(text))
