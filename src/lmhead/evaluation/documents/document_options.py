"""DocumentOptions: how data become documents that are scored, as flags and YAML say it. Imports no torch."""

from dataclasses import dataclass
from typing import Literal

from lmhead.data.rows.source import Source
from lmhead.data.rows.text_file import Errors
from lmhead.errors import require, require_choice, require_kind
from lmhead.options import option

PrefixPolicy = Literal["auto", "bos", "eos", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentOptions:
    """What is read of data, and how each text begins and ends.

    Raises:
        ArgumentError: an option breaks its rule.
    """

    prefix: PrefixPolicy = "auto"
    """What a text's first token is predicted from: auto (what the tokenizer or the run puts before a text, else bos,
    else eos), bos, eos, or none: the first token is not scored, and its bytes do not count."""
    end: bool = False
    """Score the end of each text too. It has no bytes."""
    source_key: str | None = None
    """The column that says which source a row is of. None, and of rows without it: the file or data set."""
    limit: int | None = None
    """Only so many documents, the first ones. None: all."""
    pattern: str = "*"
    """Which files of a folder are taken: a glob on the name, or on the path in the folder if it holds a /."""
    exclude: tuple[str, ...] = ()
    """Which files and folders in a folder are left out: globs, several if need be."""
    errors: Errors = "strict"
    """What bytes that are not UTF-8 get: an error that names them, or U+FFFD in their place, and no bits per byte."""

    def __post_init__(self) -> None:
        require_choice(option("prefix"), self.prefix, ("auto", "bos", "eos", "none"))
        require_choice(option("errors"), self.errors, ("strict", "replace"))
        require(self.source_key != "", option("source_key"), "name a column", "an empty name")
        if self.limit is not None:
            require_kind(option("limit"), self.limit, int)
            require(self.limit >= 1, option("limit"), "be >= 1 document, or left out", self.limit)

    def source(self, paths: tuple[str, ...], columns: str | None) -> Source:
        """What readers take.

        Args:
            columns: what is to be renamed, as ChatConfig has it.
        """
        return Source.of(
            paths,
            pattern=self.pattern,
            exclude=self.exclude,
            errors=self.errors,
            columns=columns,
            source_key=self.source_key,
        )
