"""Rows that break their format or cannot be labelled: told by what is wrong, with the first error's words."""

import re
from collections.abc import Iterator
from typing import Final

from lmhead.data.doctor.tally import Tally, rows
from lmhead.data.sample import Place
from lmhead.labels.finding import Finding, Severity

_MOST_KINDS: Final = 12  # of one code, that are told apart
_REMEDIES: Final = {
    "template": "change these rows to what the template takes, or take another (--template FILE, or chatml)",
    "not_transparent": "take a template that renders texts as they are (--template FILE, or chatml)",
    "dropped_text": "take a template that renders all texts, or give --dropped-text note",
    "generation_prompt": "tell by --assistant-header what stands before an assistant's text",
    "interleaved": "take a template that renders each turn in one piece (--template FILE, or chatml)",
    "tokens": "take a tokenizer that can tokenise a turn apart",
    "nothing_to_train": "leave these rows out, or look at what masks them: train, weight and --train-on, or the labels",
}
_NUMBERS: Final = re.compile(r"\d+")


class Refusals:
    """Counts refused rows by kind, and within a kind by what the error says is wrong."""

    def __init__(self) -> None:
        self._found: dict[str, Tally] = {}  # code -> errors alike

    def add(self, kind: str, place: Place, message: str) -> None:
        """Count one row with the error that refused it."""
        code = {"format": "row_breaks_format", "nothing_to_train": "nothing_trained"}.get(kind, f"refused_{kind}")
        error = message.removeprefix(f"{place}: ")
        alike = self._found.setdefault(code, Tally())
        wrong = _NUMBERS.sub("", error.partition(", got ")[0])
        if wrong not in alike.counts and len(alike.counts) >= _MOST_KINDS:
            wrong = "other errors"
        alike.add(wrong, place, error)

    @property
    def count(self) -> int:
        """Rows that were refused."""
        return sum(sum(alike.counts.values()) for alike in self._found.values())

    def findings(self, severity: Severity) -> Iterator[Finding]:
        """A finding for each kind of error, the most frequent first."""
        for code, alike in self._found.items():
            for wrong, count in alike.counts.most_common():
                what = "break their format" if code == "row_breaks_format" else "cannot be labelled"
                if code == "nothing_trained":
                    what = "have no token that is learnt"
                if count == 1:
                    what = {
                        "break their format": "breaks its format",
                        "have no token that is learnt": "has no token that is learnt",
                    }.get(what, what)
                yield Finding(
                    code=code,
                    severity=severity,
                    count=count,
                    places=alike.places(wrong),
                    message=f"{rows(count)} {what}: {alike.first[wrong]}",
                    remedy=_REMEDIES.get(
                        code.removeprefix("refused_").replace("nothing_trained", "nothing_to_train"), ""
                    ),
                )
