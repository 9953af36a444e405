"""Rows and documents of paths, selected and read at once; options are those of a Source."""

from collections.abc import Iterator
from os import PathLike

from lmhead.data.rows.read_rows import OnError, read_rows
from lmhead.data.rows.row import Row
from lmhead.data.rows.selection import select
from lmhead.data.rows.source import Source
from lmhead.data.sets.corpus import Corpus, read_corpus


def rows_of(*paths: str | PathLike[str], on_error: OnError | None = None, **options: object) -> Iterator[Row]:
    """The rows of paths."""
    source = Source.of([str(path) for path in paths], **options)  # type: ignore[arg-type]
    return read_rows(select(source), on_error=on_error)


def corpus_of(*paths: str | PathLike[str], held_out: float = 0.1, **options: object) -> Corpus:
    """The documents of paths."""
    source = Source.of([str(path) for path in paths], **options)  # type: ignore[arg-type]
    return read_corpus(select(source), held_out_share=held_out)
