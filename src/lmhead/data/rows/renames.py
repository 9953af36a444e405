"""Renames: what columns of the data are called -> what the formats call them, before a format is recognised.

Renames.of("messages=dialogue,tools=functions")      Renames.of({"messages": "dialogue"})
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lmhead.data.rows.format_columns import READ
from lmhead.data.rows.row import Place
from lmhead.data.rows.row_error import broken, did_you_mean, listed
from lmhead.errors import ArgumentError, ArgumentTypeError, InputError
from lmhead.options import option
from lmhead.shown import shown_value

_FORM: Final = "messages=dialogue,tools=functions"
_LISTED: Final = 20  # columns that an error names


@dataclass(frozen=True, slots=True, kw_only=True)
class Renames:
    """Pairs of names, the formats' first."""

    pairs: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def of(given: "Columns") -> "Renames":
        """From "ours=theirs,ours=theirs", or from a mapping or an object of JSON, whose names may hold any character.

        Raises:
            ArgumentTypeError: it is neither.
            ArgumentError: a name is none that is read, two columns would become one, or one would become two.
        """
        if given is None or isinstance(given, Renames):
            return given or Renames()
        pairs = _parsed(given) if isinstance(given, str) else given
        if not isinstance(pairs, Mapping) or not all(isinstance(name, str) for pair in pairs.items() for name in pair):
            kind = type(given).__name__
            raise ArgumentTypeError(f"{option('columns')} must be names by names, got {kind}: give one such as {_FORM}")
        for ours, theirs in pairs.items():
            _check(ours, theirs, pairs)
        return Renames(pairs=tuple(pairs.items()))

    def __bool__(self) -> bool:
        return bool(self.pairs)

    @property
    def theirs(self) -> frozenset[str]:
        """What the data calls the columns that are renamed."""
        return frozenset(theirs for _, theirs in self.pairs)

    def names(self, columns: Iterable[str]) -> list[str]:
        """What columns are called afterwards."""
        ours = {theirs: ours for ours, theirs in self.pairs}
        return [ours.get(column, column) for column in columns]

    def keys(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row with its columns renamed, whatever it has beside them."""
        return dict(zip(self.names(row), row.values(), strict=True))

    def before(self, ours: str) -> str:
        """What the data calls one of our columns."""
        return dict(self.pairs).get(ours, ours)

    def renamed(self, place: Place, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row with its columns renamed.

        Raises:
            InputError: it has a column of the new name already.
        """
        for ours, theirs in self.pairs:
            if theirs in row and row.get(ours) is not None and ours not in self.theirs:
                got = f"a row with {theirs} and with {ours}"
                remedy = f"take one of the two out, or rename {ours} to something else in the data"
                raise broken(place, option("columns"), f"not name {ours} where a row has it", got, remedy)
        taken = {ours for ours, theirs in self.pairs if theirs in row}  # nulls of a column of that name give way
        kept = {name: value for name, value in row.items() if name not in self.theirs and name not in taken}
        return kept | {ours: row[theirs] for ours, theirs in self.pairs if theirs in row}

    def require_met(self, met: Iterable[str]) -> None:
        """Raise InputError where none of the columns that were `met` in any row has a name that is renamed."""
        there = list(met)
        for _, theirs in self.pairs:
            if theirs not in there:
                got = f"{shown_value(theirs)}, which no row has"
                raise InputError(
                    f"{option('columns')} must name columns of the data, got {got}: {nearest(theirs, there)}"
                )


Columns = str | Mapping[str, str] | Renames | None


def nearest(name: str, there: Iterable[str]) -> str:
    """Which column is meant by a name that none has, or which there are."""
    names = list(there)
    near = did_you_mean(name, names)
    if near:
        return f"did you mean {near}?"
    return f"there are {listed(names[:_LISTED])}" if names else "there are no columns"


def _parsed(text: str) -> object:
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise ArgumentError(
                f"{option('columns')} must be an object of JSON where it begins with {{, got {shown_value(text)}"
            ) from None
    pairs: dict[str, str] = {}
    for part in text.split(","):
        ours, equals, theirs = (piece.strip() for piece in part.partition("="))
        if not (ours and equals and theirs) or "=" in theirs:
            raise ArgumentError(
                f"{option('columns')} must be pairs such as {_FORM}, got {shown_value(part)}: "
                "ours, =, what the data says"
            )
        if ours in pairs:
            got = f"{pairs[ours]} and {theirs} for {ours}"
            raise ArgumentError(
                f"{option('columns')} must name one column for each of ours, got {got}: choose one of the two"
            )
        pairs[ours] = theirs
    return pairs


def _check(ours: str, theirs: str, pairs: Mapping[str, str]) -> None:
    if ours not in READ:
        if theirs in READ:
            remedy = f"ours comes first, {theirs}={ours}"
        else:
            near = did_you_mean(ours, READ)
            remedy = f"did you mean {near}?" if near else f"columns that are read are {', '.join(READ)}"
        raise ArgumentError(
            f"{option('columns')} must name a column that is read before each =, got {shown_value(ours)}: {remedy}"
        )
    twice = [other for other, same in pairs.items() if same == theirs]
    if len(twice) > 1:
        raise ArgumentError(
            f"{option('columns')} must name each column once, got {shown_value(theirs)} for {' and '.join(twice)}"
        )
