"""What kind of file each file of data is, by its name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from lmhead.errors import InputError

Kind = Literal["lines", "json", "parquet", "arrow", "text"]
KINDS: Final[dict[str, Kind]] = {
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
    format: str | None = None  # of a table's first row


def row_kind(name: str) -> Kind:
    """What a file that is given by name holds; one that is not known is a text.

    Raises:
        InputError: the name says that it is neither rows nor text.
    """
    suffix = data_suffix(name)
    if suffix in _FOREIGN:
        raise InputError(f"{name} must be .jsonl, .json, .parquet or text, got {suffix}: {_FOREIGN[suffix]}")
    return KINDS.get(suffix, "text")


def data_suffix(name: str) -> str:
    """The suffix that tells the kind: of chat.jsonl.gz it is .jsonl."""
    path = Path(name)
    return Path(path.stem if is_gzip(path) else path.name).suffix.lower()


def is_gzip(path: Path) -> bool:
    """Whether the file is packed by gzip, by its name."""
    return path.suffix.lower() == ".gz"
