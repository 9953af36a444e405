"""Parquet, and the Arrow files of `datasets.save_to_disk`, in batches. Needs pyarrow: the extra `parquet`."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from lmhead.data.row_error import one_line
from lmhead.data.sample import Place
from lmhead.errors import InputError


def parquet_rows(path: Path, columns: Collection[str] = ()) -> Iterator[tuple[Place, dict[str, Any]]]:
    """The rows of a Parquet file without the nulls inside their values, a batch of them in memory.

    Args:
        columns: those that are read, where the file has all of them; none: all.

    Raises:
        InputError: pyarrow is missing, or it is no Parquet file, or damaged.
    """
    file = open_parquet(path)
    wanted = list(columns) if columns and set(columns) <= set(file.schema_arrow.names) else None
    yield from _rows(path, file.iter_batches(batch_size=1024, columns=wanted))


def arrow_rows(path: Path) -> Iterator[tuple[Place, dict[str, Any]]]:
    """The rows of a file of `datasets.save_to_disk` without the nulls inside their values.

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
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"{path} is not a Parquet file: {one_line(error)}") from None


def without_fill(value: Any) -> Any:
    """The value without keys that are null: a table gives every row the keys of all rows. Maps become dicts."""
    if isinstance(value, dict):
        return {key: without_fill(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        if value and all(isinstance(item, tuple) for item in value):  # what pyarrow makes of a map
            return {key: without_fill(item) for key, item in value if item is not None}
        return [without_fill(item) for item in value]
    return value


def _rows(path: Path, batches: Any) -> Iterator[tuple[Place, dict[str, Any]]]:
    pyarrow = _pyarrow(path)
    number = 0
    try:
        for batch in batches:
            for row in batch.to_pylist():
                number += 1
                yield Place(source=str(path), number=number), {name: without_fill(value) for name, value in row.items()}
    except (OSError, pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is damaged after row {number}: {one_line(error)}; write or download it again"
        ) from None


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        raise InputError(f'{path} needs pyarrow to be read: pip install "lmhead[parquet]"') from None
    return pyarrow
