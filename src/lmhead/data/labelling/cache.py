"""Labelled data on disk (cache_folder.py), found again by what it was made of.

A key is the SHA-256 of the files' contents and names, of the format, of how bytes are read, and of the recipe:
template, tokenizer, options, and of the library's own source what labels (source_version.py). Nothing that decides a
label is left out, so nothing stale can be found; whoever doubts it deletes the folder. An entry holds the arrays of
columns.py, names, formats, and what is told of the rows.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lmhead.data.labelling import cache_folder
from lmhead.data.labelling.cache_folder import DamagedError
from lmhead.data.labelling.columns import COLUMNS, LabelColumns
from lmhead.data.labelling.data_set import LabelledData
from lmhead.data.labelling.recipe import Recipe
from lmhead.data.labelling.survey import Survey
from lmhead.data.rows.row_files import DataFile
from lmhead.data.rows.source import Source
from lmhead.errors import InputError


def files_key(source: Source, files: Sequence[DataFile], recipe: Recipe) -> str:
    """SHA-256, in hex, of the files' contents and names in order, of `errors` and of the recipe. Reads each once.

    Raises:
        InputError: a file cannot be read.
    """
    contents = [[file.source, _sha256(file.path)] for file in files]
    text = json.dumps(
        {
            "paths": source.paths,
            "files": contents,
            "errors": source.errors,
            "source_key": source.source_key,
            "recipe": recipe.key(),
        }
    )
    return hashlib.sha256(text.encode()).hexdigest()


def cached(folder: Path, key: str, *, verify: bool = True) -> LabelledData | str | None:
    """The labelled data of a key, its arrays mapped; None where there is none; a sentence where it is damaged.

    Args:
        verify: read the arrays once and compare their checksums.
    """
    try:
        found = cache_folder.find(folder, key, verify=verify)
        if found is None:
            return None
        arrays, meta = found
        columns = LabelColumns(arrays={name: arrays[name] for name in COLUMNS}, names=meta["names"])
        if fault := columns.fault():
            return f"{folder / key} is damaged ({fault})"
        return LabelledData(
            columns=columns,
            formats=Counter[str](meta["formats"]),
            passed_over=Counter[str](meta["passed_over"]),
            survey=Survey.of_dict(meta["survey"]),
            told=tuple(meta["told"]),
            fingerprint=key,
            from_cache=True,
        )
    except DamagedError as error:
        return str(error)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{folder / key} is damaged ({' '.join(str(error).split())[:120]})"


def publish(folder: Path, data: LabelledData) -> None:
    """Write labelled data under its fingerprint; what is there under that name gives way.

    Raises:
        InputError: the folder cannot be written, or the disk is full.
    """
    meta = {
        "names": data.columns.names,
        "formats": data.formats,
        "passed_over": data.passed_over,
        "survey": data.survey.to_dict(),
        "told": data.told,
    }
    cache_folder.publish(folder, data.fingerprint, {name: data.columns.arrays[name] for name in COLUMNS}, meta)


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}; give another file or folder") from None
