"""Progress: who is told how far reading, training a tokenizer, tokenising and labelling are."""

from typing import Protocol


class Progress(Protocol):
    """Called now and then, and at the end of each thing that is done."""

    def __call__(self, doing: str, done: int, total: int | None, unit: str) -> None:
        """`doing` is "reading", say; `done` of `total` (None: not known), counted in `unit`: "bytes", "rows"."""


def unheard(doing: str, done: int, total: int | None, unit: str) -> None:
    """The Progress of whoever does not listen."""
