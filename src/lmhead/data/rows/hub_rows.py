"""Rows of a data set on the Hugging Face Hub, streamed: hf:NAME, hf:NAME:SPLIT or hf:NAME:CONFIGURATION:SPLIT."""

from collections.abc import Iterator
from typing import Any, Final

from lmhead.data.rows.arrow_values import row_reader
from lmhead.data.rows.row import Place
from lmhead.data.rows.row_error import one_line
from lmhead.errors import InputError

PREFIX: Final = "hf:"
_FORMS = "hf:NAME, hf:NAME:SPLIT or hf:NAME:CONFIGURATION:SPLIT"


def hub_rows(given: str) -> Iterator[tuple[Place, dict[str, Any]]]:
    """The rows as those of a table's file are read. Without a split that is `train`. Needs the extra `hf`.

    Raises:
        InputError: datasets is missing, or there is no such data set, configuration or split, or it cannot be read.
    """
    name, configuration, split = _parts(given)
    try:
        import datasets
    except ImportError:
        raise InputError(f'{given} needs datasets to be read: pip install "lmhead[hf]"') from None
    number = 0
    try:
        rows = datasets.load_dataset(name, configuration, split=split, streaming=True)
        read = row_reader(_schema(rows), decoded=True)
        for row in rows:
            number += 1
            yield Place(source=given, number=number), read(row)
    except (
        OSError,
        ValueError,
        RuntimeError,
    ) as error:  # FileNotFoundError: no such data set
        after = f" after row {number}" if number else ""
        raise InputError(f"{given} cannot be read{after}: {one_line(error)[:300]}; give {_FORMS}") from None


def _schema(rows: Any) -> Any:
    """The pyarrow.Schema of a data set; None where it is not known before its rows are."""
    features = getattr(rows, "features", None)
    return None if features is None else features.arrow_schema


def _parts(given: str) -> tuple[str, str | None, str]:
    parts = given.removeprefix(PREFIX).split(":")
    if not all(parts) or len(parts) > 3:
        raise InputError(f"{given} must be {_FORMS}, got {len(parts)} parts: the split is train where none is named")
    return parts[0], parts[1] if len(parts) == 3 else None, parts[-1] if len(parts) > 1 else "train"
