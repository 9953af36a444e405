"""A folder of entries that are found again by the hash of what they were made of.

An entry is a folder: meta.json, and arrays that are mapped into memory when they are read. It is written as a draft and
published by rename: what has its name is whole, and two processes that write one entry at once do no harm. What was
damaged since is told by its size or its CRC-32. Entries that were not used for longest go where all take too much.
"""

import json
import os
import re
import shutil
import tempfile
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lmhead.errors import InputError
from lmhead.options import option

Array = npt.NDArray[Any]
MOST_BYTES: Final = 50 * 10**9  # of all entries; the newest stays whatever it takes
_META: Final = "meta.json"
_DRAFT: Final = ".draft-"
_KEY: Final = re.compile(r"[0-9a-f]{64}")
_ABANDONED: Final = 24 * 3600  # seconds after which a draft's process is taken for dead


class DamagedError(ValueError):
    """An entry is not what was written; the message says where and how."""


def find(folder: Path, key: str, *, verify: bool = True) -> tuple[dict[str, Array], dict[str, Any]] | None:
    """The arrays of an entry, mapped, and what else it holds; None where there is none.

    Args:
        verify: read the arrays once and compare their checksums.

    Raises:
        DamagedError: it is damaged.
    """
    place = folder / key
    if not place.is_dir():
        return None
    try:
        known = json.loads((place / _META).read_text(encoding="utf-8"))
        meta: dict[str, Any] = known["content"]
        if known["crc32"] != _crc32_of(meta):
            raise ValueError(f"{_META} has another checksum than when it was written")
        for name, written in meta["files"].items():
            _check(place / f"{name}.npy", written, verify)
        arrays = {name: _mapped(place / f"{name}.npy") for name in meta["files"]}
        os.utime(place)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"{place} is damaged ({' '.join(str(error).split())[:120]})") from None
    return arrays, meta


def publish(folder: Path, key: str, arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> None:
    """Write an entry; what is there under its key gives way.

    Raises:
        InputError: the folder cannot be written, or the disk is full.
    """
    draft = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=folder))
        _write(draft, arrays, meta)
        _rename(draft, folder / key)
        _make_room(folder, keep=key)
    except OSError as error:
        raise InputError(
            f"{option('cache')} must be a folder that can be written, got {folder}: {error.strerror or error}; "
            "free some space, or name another folder"
        ) from None
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)


def _check(file: Path, written: Mapping[str, int], verify: bool) -> None:
    if file.stat().st_size != written["bytes"]:
        raise ValueError(f"{file.name} has {file.stat().st_size} bytes, not {written['bytes']}")
    if verify and _crc32(file) != written["crc32"]:
        raise ValueError(f"{file.name} has another checksum than when it was written")


def _mapped(file: Path) -> Array:
    array: Array
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except ValueError:  # an empty file cannot be mapped
        array = np.load(file, allow_pickle=False)
    return array


def _write(draft: Path, arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> None:
    files = {}
    for name, array in arrays.items():
        file = draft / f"{name}.npy"
        with file.open("wb") as stream:
            np.save(stream, array, allow_pickle=False)
            _sync(stream)
        files[name] = {"bytes": file.stat().st_size, "crc32": _crc32(file)}
    content = {**meta, "files": files}
    with (draft / _META).open("w", encoding="utf-8") as text:
        json.dump({"crc32": _crc32_of(content), "content": content}, text)
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


def _make_room(folder: Path, *, keep: str) -> None:
    """Remove entries, the least lately used first, until all take at most MOST_BYTES. Who has one mapped keeps it."""
    entries = [place for place in folder.iterdir() if _KEY.fullmatch(place.name)]
    sizes = {place: sum(file.stat().st_size for file in place.iterdir()) for place in entries}
    for place in sorted(entries, key=lambda place: place.stat().st_mtime):
        if sum(sizes.values()) <= MOST_BYTES:
            return
        if place.name != keep:
            sizes.pop(place)
            shutil.rmtree(place, ignore_errors=True)


def _crc32_of(meta: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(meta, sort_keys=True).encode())


def _crc32(file: Path) -> int:
    checksum = 0
    with file.open("rb") as stream:
        while block := stream.read(2**20):
            checksum = zlib.crc32(block, checksum)
    return checksum
