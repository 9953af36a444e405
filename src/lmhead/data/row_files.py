"""Paths as they were given -> files, and what kind of file each of them is."""

import fnmatch
from pathlib import Path
from typing import Final, Literal

from lmhead.errors import InputError

Kind = Literal["lines", "json", "parquet", "arrow", "text"]
_KINDS: Final[dict[str, Kind]] = {
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
_PACKED: Final = (".zip", ".tar", ".tgz", ".bz2", ".xz", ".zst", ".7z")
_FOREIGN: Final = {
    **dict.fromkeys(_PACKED, "unpack it, or pack it with gzip"),
    **dict.fromkeys((".csv", ".tsv", ".xlsx", ".xls"), "write its rows as .jsonl, one JSON object a line, or .parquet"),
    **dict.fromkeys((".npy", ".npz", ".bin", ".pt", ".pkl", ".safetensors"), "write its rows as .jsonl or .parquet"),
}


def row_kind(path: Path) -> Kind:
    """What a file holds, by its name; one that is not known is a text.

    Raises:
        InputError: the name says that it is neither rows nor text.
    """
    suffix = data_suffix(path)
    if suffix in _FOREIGN:
        raise InputError(f"{path} must be .jsonl, .json, .parquet or text, got {suffix}: {_FOREIGN[suffix]}")
    return _KINDS.get(suffix, "text")


def data_suffix(path: Path) -> str:
    """The suffix that tells the kind: of chat.jsonl.gz it is .jsonl."""
    return Path(path.stem if is_gzip(path) else path.name).suffix.lower()


def is_gzip(path: Path) -> bool:
    """Whether the file is packed by gzip, by its name."""
    return path.suffix.lower() == ".gz"


def files_of_rows(given: str, pattern: str) -> list[Path]:
    """The file that is given, or those of a folder: its tables where it has any, else all its files as texts.

    So a README.md beside train.jsonl is no row of it. In a folder of `datasets.save_to_disk` the .json files only
    describe the .arrow files.

    Raises:
        InputError: there is none.
    """
    found = files(given, pattern)
    if not Path(given).is_dir():
        return found
    suffixes = {data_suffix(path) for path in found}
    wanted = {".arrow"} if ".arrow" in suffixes else suffixes & set(_KINDS)
    found = [path for path in found if not wanted or data_suffix(path) in wanted]
    if not found:
        raise InputError(f"{given} must hold files of data, got none that is not empty or hidden and fits {pattern!r}")
    return found


def files(given: str, pattern: str) -> list[Path]:
    """The file that is given, or those of the folder; one that links name again in the folder is taken once.

    Raises:
        InputError: there is no such file or folder, or it cannot be read.
    """
    path = Path(given)
    try:
        if not path.is_dir():
            if not path.exists():
                raise InputError(f"no such file or folder: {path}")
            return [path]
        found: dict[Path, Path] = {}
        for file in sorted(path.rglob("*")):
            if _is_wanted(file, path, pattern):
                found.setdefault(file.resolve(), file)
        return list(found.values())
    except OSError as error:
        shown = given if len(given) <= 200 else f"{given[:200]}..."
        raise InputError(f"cannot read {shown}: {error.strerror}; give another file or folder") from None


def _is_wanted(file: Path, folder: Path, pattern: str) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return not hidden and fnmatch.fnmatch(file.name, pattern) and file.is_file() and file.stat().st_size > 0
