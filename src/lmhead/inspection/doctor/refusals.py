"""Findings about rows that break their format or cannot be labelled: by what is wrong, with the first one's words."""

import re
from collections.abc import Iterator
from typing import Final

from lmhead.data.labelling.tally import Tally
from lmhead.data.rows.row import Place
from lmhead.data.sets.refusals import REMEDIES
from lmhead.errors import RefusalKind
from lmhead.inspection.finding import Finding, Severity, counted_rows
from lmhead.options import Message, option

_MOST_KINDS: Final = 12  # of one code, that are told apart
IN_THE_ERROR: Final[frozenset[RefusalKind]] = frozenset({"format", "role", "too_long"})  # what to do, in its own words
BY_AUDIT: Final[frozenset[RefusalKind]] = frozenset(  # of rows of ids: the audit finds the same, by the same names
    {"ids_out_of_vocabulary", "labels_already_shifted", "labels_are_not_input_ids"}
)
_CODES: Final[dict[RefusalKind, str]] = {"format": "row_breaks_format", "nothing_to_train": "nothing_trained"}
_NOTED: Final = option("dropped_text", "note")
_NUMBERS: Final = re.compile(r"\d+")


class Refusals:
    """Counts refused rows by kind, and within a kind by what the error says is wrong."""

    def __init__(self) -> None:
        self._found: dict[RefusalKind, Tally] = {}  # errors alike

    def add(self, kind: RefusalKind, place: Place, message: Message) -> None:
        """Count one row with the error that refused it; not one of which the audit tells."""
        if kind in BY_AUDIT:
            return
        error = message.marked.removeprefix(f"{place}: ")
        alike = self._found.setdefault(kind, Tally())
        wrong = _NUMBERS.sub("", Message(error).partition(", got ")[0])
        if wrong not in alike.counts and len(alike.counts) >= _MOST_KINDS:
            wrong = "other errors"
        alike.add(wrong, place, error)

    def findings(self, severity: Severity) -> Iterator[Finding]:
        """A finding for each kind of error, the most frequent first."""
        for kind, alike in self._found.items():
            for wrong, count in alike.counts.most_common():
                yield Finding(
                    code=_CODES.get(kind, f"refused_{kind}"),
                    severity=severity,
                    count=count,
                    places=alike.places(wrong),
                    message=f"{counted_rows(count)} {_what(kind, count)}: {alike.first[wrong]}",
                    remedy=_remedy(kind, alike.first[wrong]),
                )


def _what(kind: RefusalKind, count: int) -> str:
    one = count == 1
    if kind == "format":
        return "breaks its format" if one else "break their format"
    if kind == "nothing_to_train":
        return f"{'has' if one else 'have'} no token that is learnt"
    return "cannot be labelled"


def _remedy(kind: RefusalKind, error: str) -> str:
    """What to do about it; nothing where the error's own words say it."""
    remedy = REMEDIES.get(kind, "")
    noted = kind in ("dropped_text", "media") and _NOTED in error
    return f"{remedy}, or give {_NOTED}" if noted else remedy
