"""Wanted: how much of a data set is labelled and shown."""

from dataclasses import dataclass
from typing import Final

from lmhead.data.rows.text_file import Errors
from lmhead.errors import require
from lmhead.options import option

LABELLED: Final = 1000  # rows, where nobody says how many


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is taken of the data."""

    rows: int | None = None  # that are labelled, spread over all; None: all, or a thousand
    numbers: tuple[int, ...] = ()  # rows, or lines, that are taken and no others
    tokens: int | None = None  # that are shown; None: all
    length: int | None = None  # tokens of a row in training; None: not said
    packed: bool = False  # into rows of `length`
    pattern: str = "*"
    exclude: tuple[str, ...] = ()
    errors: Errors = "strict"

    def __post_init__(self) -> None:
        for name, least in (("rows", 1), ("tokens", 2), ("length", 2)):
            value = getattr(self, name)
            require(value is None or value >= least, option(name), f"be >= {least}", value)
        require(not self.packed or self.length is not None, option("length"), "be given to pack rows", self.length)
