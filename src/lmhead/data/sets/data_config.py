"""DataConfig: where the data of a run come from and which of them are held out, as flags and YAML say it. No torch."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from lmhead.data.rows.hub_rows import PREFIX
from lmhead.data.rows.source import Source
from lmhead.data.rows.streams import is_stream
from lmhead.data.rows.text_file import Errors


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Where text comes from and how it becomes tokens."""

    paths: tuple[str, ...] = ()
    """Files, folders, .jsonl, .csv, .parquet, or -: texts or conversations. None given: Python's standard library."""
    pattern: str = "*"
    """Which files of a folder are taken: a glob on the name, or on the path in the folder if it holds a /."""
    exclude: tuple[str, ...] = ()
    """Which files and folders in a folder are left out: globs, several if need be."""
    errors: Errors = "strict"
    """What bytes that are not UTF-8 get: an error that names them, or U+FFFD in their place."""
    source_key: str | None = None
    """The column that says which source a row is of, for losses by source (a.b: b in the object a). None: its file."""
    held_out: float = 0.1
    """The share of the documents or conversations that is never trained on."""
    tokenizer: str | None = None
    """A tokenizer.json to use; by default a byte-level BPE of model.vocab_size tokens is trained on the data."""

    def source(self, columns: str | None = None) -> Source:
        """What readers take.

        Args:
            columns: what is to be renamed, as ChatConfig has it.

        Raises:
            ArgumentError: columns break their rule.
        """
        return Source.of(
            self.paths,
            pattern=self.pattern,
            exclude=self.exclude,
            errors=self.errors,
            columns=columns,
            source_key=self.source_key,
        )

    def with_absolute_paths(self) -> "DataConfig":
        """The same data, found from any working directory; the Hub, pipes and standard input stay as they are."""
        kept = (
            path if path.startswith(PREFIX) or is_stream(path) else os.path.normpath(Path.cwd() / path)
            for path in self.paths
        )
        return replace(self, paths=tuple(kept))
