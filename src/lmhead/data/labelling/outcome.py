"""Labelled, the outcome of one row: an Example, or a Refusal that says why there is none."""

from dataclasses import dataclass

from lmhead.data.rows.row import Place
from lmhead.errors import RefusalKind
from lmhead.labels.example import Example
from lmhead.options import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a row has no Example."""

    kind: RefusalKind  # "format" where the row itself is broken
    message: Message  # names the place, the rule and the remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """One row, labelled or refused: exactly one of the two is there."""

    place: Place
    example: Example | None = None
    refusal: Refusal | None = None
