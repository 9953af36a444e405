"""Kinds of files of data, by their names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from lmhead.errors import InputError

Kind = Literal["lines", "json", "csv", "parquet", "arrow", "text"]
KINDS: Final[dict[str, Kind]] = {
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
PACKINGS: Final = (".gz", ".zst")  # on top of any kind but tables of Arrow, which are packed inside
_ARCHIVES: Final = (".zip", ".tar", ".tgz", ".bz2", ".xz", ".7z")
_FOREIGN: Final = {
    **dict.fromkeys(_ARCHIVES, "unpack it, or pack it with gzip or zstd"),
    **dict.fromkeys((".xlsx", ".xls"), "save its rows as .csv, .jsonl or .parquet"),
    **dict.fromkeys((".npy", ".npz", ".bin", ".pt", ".pkl", ".safetensors"), "write its rows as .jsonl or .parquet"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """A file that is read, and what it is called."""

    path: Path  # that is opened
    source: str  # as it was given or found: what places and errors say
    name: str  # within what was given: by it, rows are held out, wherever the data lie
    kind: Kind
    real: str  # its path without links
    size: int  # bytes
    named: bool  # it was given itself, not with its folder: what cannot be read of it is an error
    format: str | None = None  # of the first row of a table that was found in a folder


def row_kind(name: str) -> Kind:
    """What a file that is given by name holds; one that is not known is a text.

    Raises:
        InputError: the name says that it is neither rows nor text.
    """
    suffix = data_suffix(name)
    if suffix in _FOREIGN:
        raise InputError(f"{name} must be .jsonl, .json, .csv, .parquet or text, got {suffix}: {_FOREIGN[suffix]}")
    kind = KINDS.get(suffix, "text")
    if kind in ("parquet", "arrow") and (packed := packing(Path(name))) is not None:
        raise InputError(f"{name} must be {suffix} itself, got it inside of {packed}: unpack it")
    return kind


def data_suffix(name: str) -> str:
    """The suffix that tells the kind: of chat.jsonl.gz it is .jsonl."""
    path = Path(name)
    return Path(unpacked_name(path)).suffix.lower()


def packing(path: Path) -> str | None:
    """What the file is packed by, by its name: one of PACKINGS."""
    suffix = path.suffix.lower()
    return suffix if suffix in PACKINGS else None


def unpacked_name(path: Path) -> str:
    """The file's name without the suffix of what it is packed by."""
    return path.name if packing(path) is None else path.stem
