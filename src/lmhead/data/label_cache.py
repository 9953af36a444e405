"""Labelled data on disk, found again by what it was made of.

A key is the SHA-256 of the files' contents and names, of the format, of how bytes are read, and of the recipe:
template, tokenizer, options, the library's own source. Nothing that decides a label is left out, so nothing stale can
be found; whoever doubts it deletes the folder. One folder a key:

    meta.json       names, formats, the size and the CRC-32 of each array's file, and its own CRC-32
    ids.npy, ...    the arrays of label_columns.py, mapped into memory when they are read

It is written as a draft and published by rename: what has its name is whole. What was damaged since is made anew.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from lmhead.data.label_columns import COLUMNS, Array, LabelColumns
from lmhead.data.labelled_data import LabelledData
from lmhead.data.recipe import Recipe
from lmhead.data.row_files import DataFile
from lmhead.data.text_file import Errors
from lmhead.errors import InputError

_META: Final = "meta.json"
_DRAFT: Final = ".draft-"
_ABANDONED: Final = 24 * 3600  # seconds after which a draft's process is taken for dead


def files_key(paths: Sequence[str], files: Sequence[DataFile], recipe: Recipe, errors: Errors) -> str:
    """SHA-256, in hex, of the files' contents and names in order, of `errors` and of the recipe. Reads each file once.

    Raises:
        InputError: a file cannot be read.
    """
    contents = [[file.source, _sha256(file.path)] for file in files]
    text = json.dumps({"paths": list(paths), "files": contents, "errors": errors, "recipe": recipe.key()})
    return hashlib.sha256(text.encode()).hexdigest()


def cached(folder: Path, key: str, *, verify: bool = True) -> LabelledData | str | None:
    """The labelled data of a key, its arrays mapped; None where there is none; a sentence where it is damaged.

    Args:
        verify: read the arrays once and compare their checksums.
    """
    place = folder / key
    if not place.is_dir():
        return None
    try:
        return _loaded(place, key, verify)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{place} is damaged ({' '.join(str(error).split())[:120]})"


def publish(folder: Path, data: LabelledData) -> None:
    """Write labelled data under its fingerprint; what is there under that name gives way.

    Raises:
        InputError: the folder cannot be written, or the disk is full.
    """
    draft = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=folder))
        _write(draft, data)
        _rename(draft, folder / data.fingerprint)
    except OSError as error:
        raise InputError(
            f"cache must be a folder that can be written, got {folder}: {error.strerror or error}; free some space, or "
            "name another folder"
        ) from None
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)


def _loaded(place: Path, key: str, verify: bool) -> LabelledData:
    known = json.loads((place / _META).read_text(encoding="utf-8"))
    meta = known["content"]
    if known["crc32"] != _crc32_of(meta):
        raise ValueError(f"{_META} has another checksum than when it was written")
    for name, written in meta["files"].items():
        file = place / f"{name}.npy"
        if file.stat().st_size != written["bytes"]:
            raise ValueError(f"{file.name} has {file.stat().st_size} bytes, not {written['bytes']}")
        if verify and _crc32(file) != written["crc32"]:
            raise ValueError(f"{file.name} has another checksum than when it was written")
    columns = LabelColumns(arrays={name: _mapped(place / f"{name}.npy") for name in COLUMNS}, names=meta["names"])
    if fault := columns.fault():
        raise ValueError(fault)
    formats, passed_over = (Counter[str](meta[name]) for name in ("formats", "passed_over"))
    return LabelledData(
        columns=columns,
        formats=formats,
        passed_over=passed_over,
        told=tuple(meta["told"]),
        fingerprint=key,
        from_cache=True,
    )


def _mapped(file: Path) -> Array:
    array: Array
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except ValueError:  # an empty file cannot be mapped
        array = np.load(file, allow_pickle=False)
    return array


def _write(draft: Path, data: LabelledData) -> None:
    files = {}
    for name in COLUMNS:
        file = draft / f"{name}.npy"
        with file.open("wb") as stream:
            np.save(stream, data.columns.arrays[name], allow_pickle=False)
            _sync(stream)
        files[name] = {"bytes": file.stat().st_size, "crc32": _crc32(file)}
    meta = {
        "names": data.columns.names,
        "formats": data.formats,
        "passed_over": data.passed_over,
        "told": data.told,
        "files": files,
    }
    with (draft / _META).open("w", encoding="utf-8") as text:
        json.dump({"crc32": _crc32_of(meta), "content": meta}, text)
        _sync(text)


def _sync(stream: Any) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _rename(draft: Path, final: Path) -> None:
    """Give a draft its name. Another process may do the same with the same content: then either will do."""
    try:
        draft.rename(final)
        return
    except OSError:
        if not final.is_dir():
            raise
    aside = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=final.parent))
    try:
        final.rename(aside / "old")
    except FileNotFoundError:
        pass  # another process put it aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    try:
        draft.rename(final)
    except OSError:
        if not final.is_dir():
            raise


def _sweep(folder: Path) -> None:
    """Remove the drafts of processes that were killed."""
    for draft in folder.glob(f"{_DRAFT}*"):
        try:
            abandoned = time.time() - draft.stat().st_mtime > _ABANDONED
        except FileNotFoundError:
            continue
        if abandoned:
            shutil.rmtree(draft, ignore_errors=True)


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}; give another file or folder") from None


def _crc32_of(meta: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(meta, sort_keys=True).encode())


def _crc32(file: Path) -> int:
    checksum = 0
    with file.open("rb") as stream:
        while block := stream.read(2**20):
            checksum = zlib.crc32(block, checksum)
    return checksum
