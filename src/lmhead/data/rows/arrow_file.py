"""Parquet, and the Arrow files of `datasets.save_to_disk`, in batches. Needs pyarrow: the extra `parquet`."""

import inspect
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from lmhead.data.rows.arrow_values import row_reader
from lmhead.data.rows.row import Place
from lmhead.data.rows.row_error import one_line
from lmhead.errors import InputError


def parquet_rows(path: Path, columns: Collection[str] = ()) -> Iterator[tuple[Place, Any]]:
    """The rows of a Parquet file, as `row_reader` reads them, or the InputError of one. A batch of them is in memory.

    Args:
        columns: those that are read, where the file has all of them; none: all.

    Raises:
        InputError: pyarrow is missing, or it is no Parquet file, or damaged.
    """
    file = open_parquet(path)
    wanted = list(columns) if columns and set(columns) <= set(file.schema_arrow.names) else None
    yield from _rows(path, file.iter_batches(batch_size=1024, columns=wanted))


def columns_of_parquet(path: Path) -> frozenset[str]:
    """The names of its columns.

    Raises:
        InputError: pyarrow is missing, or it is no Parquet file.
    """
    return frozenset(open_parquet(path).schema_arrow.names)


def arrow_rows(path: Path) -> Iterator[tuple[Place, Any]]:
    """The rows of a file of `datasets.save_to_disk`; as `parquet_rows`.

    Raises:
        InputError: pyarrow is missing, or it is no such file, or damaged.
    """
    pyarrow = _pyarrow(path)
    try:
        with pyarrow.memory_map(str(path)) as source:
            yield from _rows(path, pyarrow.ipc.open_stream(source))
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"{path} is not a stream of Arrow: {one_line(error)}") from None


def open_parquet(path: Path) -> Any:
    """The pyarrow.parquet.ParquetFile.

    Raises:
        InputError: pyarrow is missing, or it is no Parquet file.
    """
    pyarrow = _pyarrow(path)
    try:
        return pyarrow.parquet.ParquetFile(path, **_knows_json(pyarrow))
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"{path} is not a Parquet file: {one_line(error)}") from None


def _rows(path: Path, batches: Any) -> Iterator[tuple[Place, Any]]:
    pyarrow = _pyarrow(path)
    number = 0
    read = None
    try:
        for batch in batches:
            read = read or row_reader(batch.schema)
            for row in batch.to_pylist():
                number += 1
                place = Place(source=str(path), number=number)
                try:
                    yield place, read(row)
                except InputError as error:
                    yield place, InputError(f"{place}: {error}")
    except (OSError, pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is damaged after row {number}: {one_line(error)}; write or download it again"
        ) from None


def _knows_json(pyarrow: Any) -> dict[str, Any]:
    """What makes pyarrow read Parquet's own JSON type, which other tools write, as Arrow's."""
    known = "arrow_extensions_enabled" in inspect.signature(pyarrow.parquet.ParquetFile).parameters
    return {"arrow_extensions_enabled": True} if known else {}


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        raise InputError(f'{path} needs pyarrow to be read: pip install "lmhead[parquet]"') from None
    return pyarrow
