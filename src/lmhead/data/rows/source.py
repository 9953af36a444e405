"""Source: what rows are read from and how, as one record: paths, patterns, bytes that are not UTF-8, columns."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from lmhead.data.rows.renames import Columns, Renames
from lmhead.data.rows.source_key import columns_of_key
from lmhead.data.rows.text_file import Errors
from lmhead.errors import InputError, require_paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Which files are read, and what their bytes and columns mean. Made by `Source.of`, which checks."""

    paths: tuple[str, ...]  # files, folders, `-`, pipes, hf:NAME
    pattern: str = "*"  # of files in a folder, a glob on the name, or on the path in the folder if it holds a /
    exclude: tuple[str, ...] = ()  # globs of files and folders in a folder that are left out
    errors: Errors = "strict"  # what bytes that are not UTF-8 get: an error, or U+FFFD in their place
    columns: Renames = field(default_factory=Renames)
    source_key: str | None = (
        None  # the column, as the data call it, that says which source a row is of; a.b: b in the object a
    )

    @property
    def source_columns(self) -> list[str]:
        """What the columns that are read for `source_key` are called once columns are renamed."""
        return self.columns.names(columns_of_key(self.source_key))

    @staticmethod
    def of(
        paths: Sequence[str],
        *,
        pattern: str = "*",
        exclude: Sequence[str] = (),
        errors: Errors = "strict",
        columns: Columns = None,
        source_key: str | None = None,
    ) -> "Source":
        """The record of what `read_samples` takes.

        Raises:
            InputError: paths are a text.
            ArgumentError: there is no such column to rename one to; what `Renames.of` raises.
        """
        if isinstance(paths, str):
            raise InputError(f"paths must be a list of paths, got the string {paths!r}: put it into a list")
        require_paths("paths", paths)
        return Source(
            paths=tuple(map(os.fspath, paths)),
            pattern=pattern,
            exclude=tuple(exclude),
            errors=errors,
            columns=Renames.of(columns),
            source_key=source_key,
        )
