"""Memory of data, estimated before they are read: by the sizes of their files."""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lmhead.data.rows.folder import files_of_folder
from lmhead.data.rows.hub_rows import PREFIX
from lmhead.data.rows.reading import Reading
from lmhead.data.rows.row_files import data_suffix, packing
from lmhead.data.rows.streams import is_stream
from lmhead.data.sets.data_config import DataConfig
from lmhead.data.sets.standard_library import standard_library
from lmhead.errors import InputError

# Bytes a byte of text at the peak: 2.1 to 3.3 measured (benchmarks/reading.py), 5 where one file's few wide characters
# make its str four bytes a character; and 50 to 75 MB whatever the text is.
_READING: Final = 5.5
_BESIDES: Final = 100 * 10**6
_UNPACKED: Final = 4  # times a packed file's size, about; a Parquet file's too
_PER_TOKEN: Final = 3  # bytes of text, about


@dataclass(frozen=True, slots=True, kw_only=True)
class DataMemory:
    """Bytes of data in memory."""

    reading: int  # at the peak, before anything is trained: texts, a tokenizer's training, ids
    kept: int  # while it is trained: ids, and the held-out text


def data_bytes(data: DataConfig, *, vocab_size: int) -> DataMemory | None:
    """What the data take; None where their size is not known before they are read."""
    sizes = _sizes(data)
    if sizes is None:
        return None
    text = sum(sizes)
    width = 2 if vocab_size <= 2**16 else 4
    kept = text // _PER_TOKEN * width + int(data.held_out * text)
    return DataMemory(reading=int(_READING * text) + _BESIDES, kept=kept)


def _sizes(data: DataConfig) -> list[int] | None:
    if not data.paths:
        return [file.size for file in standard_library().every_file() or ()]
    if any(not path or path.startswith(PREFIX) or is_stream(path) for path in data.paths):
        return None
    try:
        return [size for path in data.paths for size in _of(Path(path), data)]
    except (OSError, ValueError, InputError):  # whoever reads them says what is wrong
        return None


def _of(path: Path, data: DataConfig) -> Iterator[int]:
    if stat.S_ISDIR(path.stat().st_mode):
        for file in files_of_folder(path, data.source(), Reading()):
            yield _unpacked(file.path, file.size)
    else:
        yield _unpacked(path, path.stat().st_size)


def _unpacked(path: Path, size: int) -> int:
    return size * (_UNPACKED if packing(path) or data_suffix(path.name) == ".parquet" else 1)
