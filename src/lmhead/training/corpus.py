"""Text on disk -> documents. Files, folders, JSONL and Parquet with a `text` column, or Python's standard library."""

import fnmatch
import hashlib
import json
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lmhead.errors import InputError
from lmhead.training.config import DataConfig

_NOT_OURS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "_bundled"}
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
    ranked = sorted(documents, key=lambda document: hashlib.sha256(_hash_input(document)).digest())
    count = min(max(1, round(len(documents) * config.held_out)), len(documents) - 1)
    held_out = {id(document) for document in ranked[:count]}
    return Corpus(
        source=source,
        train=[document for document in documents if id(document) not in held_out],
        held_out=[document for document in documents if id(document) in held_out],
    )


def _hash_input(document: Document) -> bytes:
    return f"held out:{document.name}".encode(errors="surrogateescape")  # a file's name need not be UTF-8


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
        for path in _files(given, config.pattern):
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


def _files(given: str, pattern: str) -> list[Path]:
    """The file that is given, or those of the folder; one that links name again in the folder is taken once."""
    path = Path(given)
    try:
        if not path.is_dir():
            if not path.exists():
                raise InputError(f"no such file or folder: {path}")
            return [path]
        files: dict[Path, Path] = {}
        for file in sorted(path.rglob("*")):
            if _is_wanted(file, path, pattern):
                files.setdefault(file.resolve(), file)
        return list(files.values())
    except OSError as error:
        shown = given if len(given) <= 200 else f"{given[:200]}..."
        raise InputError(f"cannot read {shown}: {error.strerror}; give another file or folder") from None


def _is_wanted(file: Path, folder: Path, pattern: str) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return not hidden and fnmatch.fnmatch(file.name, pattern) and file.is_file() and file.stat().st_size > 0


def _file(path: Path, errors: Literal["strict", "replace"]) -> Iterator[Document]:
    if path.suffix == ".parquet":
        yield from _parquet(path)
        return
    text = _decode(path, errors)
    if path.suffix in (".jsonl", ".ndjson"):
        yield from _json_lines(path, text, errors)
    elif text:
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


def _json_lines(path: Path, text: str, errors: Literal["strict", "replace"]) -> Iterator[Document]:
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {number} is not JSON: {error.msg} at column {error.colno}") from None
        except ValueError:  # Python converts no longer integers
            raise InputError(
                f"{path}, line {number} has an integer of thousands of digits: make it a string, or drop the row"
            ) from None
        except RecursionError:
            raise InputError(f"{path}, line {number} is nested too deeply: leave the row out") from None
        columns = list(row) if isinstance(row, dict) else None
        if columns is None or not isinstance(row.get("text"), str):
            found = f"the columns {_one_line(', '.join(columns))}" if columns else type(row).__name__
            raise InputError(
                f'{path}, line {number} has no text, got {found}: each line must be an object with a string "text"'
            )
        half = _SURROGATES.search(row["text"])
        if half and errors == "strict":
            raise InputError(
                f"{path}, line {number} is no Unicode text: \\u{ord(half[0]):04x} at character {half.start()} "
                "is half of a pair; mend the row, leave it out, or pass --errors replace"
            )
        if row["text"]:
            yield Document(name=f"{path.as_posix()}:{number}", text=_SURROGATES.sub("\ufffd", row["text"]))


def _parquet(path: Path) -> Iterator[Document]:
    try:
        import pyarrow.parquet
    except ImportError:
        raise InputError(f'{path} needs pyarrow to be read: pip install "lmhead[parquet]"') from None
    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"{path} is not a Parquet file: {_one_line(str(error))}") from None
    if "text" not in file.schema_arrow.names:
        columns = _one_line(", ".join(file.schema_arrow.names))
        raise InputError(f'{path} has no text, got the columns {columns}: it must have a string column "text"')
    kind = file.schema_arrow.field(file.schema_arrow.names.index("text")).type
    values = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
    if str(values) not in ("string", "large_string", "string_view"):
        raise InputError(f'{path} must have a string column "text", got one of {kind}: convert it to strings')
    number = 0
    try:
        for batch in file.iter_batches(columns=["text"]):
            for text in batch.column(0).to_pylist():
                number += 1
                if text:
                    yield Document(name=f"{path.as_posix()}:{number}", text=text)
    except (OSError, pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is damaged after row {number}: {_one_line(str(error))}; write or download it again"
        ) from None


def _one_line(text: str) -> str:
    return " ".join(_SURROGATES.sub("\ufffd", text).split())
