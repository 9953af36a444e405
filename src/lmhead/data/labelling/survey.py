"""Survey: what the rows of a data set are found to be, before they are labelled and after: facts, counted by code.

What is wrong with them, and what to do about it, is the doctor's (inspection/doctor/survey_findings.py).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from lmhead.data.formats.sample import ChatSample, CompletionSample, Sample, TextSample
from lmhead.data.formats.unread import Unread
from lmhead.data.labelling.conversation_facts import note_oddities, note_use, text_of
from lmhead.data.labelling.tally import Tally
from lmhead.data.rows.row import Place
from lmhead.labels.example import Example, Note, NoteKind

_OF_CONTROL_TOKENS: Final = ("control_token_in_text", "rendered_text")
_MISDECODED: Final = re.compile("\ufffd|Ã[\u0080-\u00bf]|â€[\u0098-\u009d™œ]|Â[\u00a0-\u00bf]")


class Survey:
    """Counts what is met in rows while they pass. Bounded: a few places for each thing."""

    def __init__(self) -> None:
        self.usage, self.found = Tally(), Tally()
        self.unread = Unread()
        self.rows = 0

    def look_at(self, sample: Sample, end: str | None) -> None:
        """Look at a row that is not labelled yet.

        Args:
            end: the token that ends texts and completions; None: nothing does.
        """
        self.rows += 1
        if isinstance(sample, ChatSample) and sample.messages and all(map(_has_role, sample.messages)):  # else refused
            note_use(sample, self.usage)
            note_oddities(sample, self.found)
        if end is None and isinstance(sample, TextSample | CompletionSample):
            self.found.add("end_not_trained", sample.place)
        for text in _texts(sample):
            if match := _MISDECODED.search(text):
                around = text[max(match.start() - 10, 0) : match.end() + 10]
                self.found.add("misdecoded_text", sample.place, repr(around))
                break

    def take(self, place: Place, example: Example) -> None:
        """Look at the labels of a row."""
        self.note(place, example.notes, chat=bool(example.spans))

    def note(self, place: Place, notes: Iterable[Note], *, chat: bool) -> None:
        """Count the notes of a row, each kind once; in `usage` too, for what is told of the template.

        Args:
            chat: it is a conversation, not a text without roles.
        """
        kept = [note for note in notes if not _is_opening(note)]
        told: dict[str, str] = {}
        for note in kept:
            told.setdefault(
                _code(note.kind, chat), _written(note.text) if note.kind in _OF_CONTROL_TOKENS else note.text
            )
        for kind in sorted({note.kind for note in kept}):
            self.usage.add(f"noted_{kind}", place)
        for code, text in told.items():
            self.found.add(code, place, text)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        counted = {"usage": self.usage.to_dict(), "found": self.found.to_dict()}
        return {**counted, "unread": self.unread.to_dict(), "rows": self.rows}

    @staticmethod
    def of_dict(saved: Mapping[str, Any]) -> "Survey":
        """From what `to_dict` gave."""
        survey = Survey()
        survey.usage, survey.found = Tally.of_dict(saved["usage"]), Tally.of_dict(saved["found"])
        survey.unread, survey.rows = Unread.of_dict(saved["unread"]), int(saved["rows"])
        return survey


def _has_role(message: object) -> bool:
    return isinstance(message, Mapping) and isinstance(message.get("role"), str)


def _texts(sample: Sample) -> Iterator[str]:
    match sample:
        case ChatSample():
            yield from (text_of(message) for message in sample.messages if isinstance(message, Mapping))
        case CompletionSample():
            yield from (sample.prompt, sample.completion)
        case TextSample():
            yield sample.text


def _is_opening(note: Note) -> bool:
    """An assistant's turn that opens a conversation has no prompt to agree with; a rule of its own tells of it."""
    return note.kind == "generation_prompt_differs" and note.message == 0


def _written(text: str) -> str:
    """The control tokens that a note names."""
    return text.removeprefix("the text holds ").removeprefix("the text begins with ").partition(", which")[0]


def _code(kind: NoteKind, chat: bool) -> str:
    if kind == "no_terminator":
        return "no_end_token"
    if not chat:
        return {"control_token_in_text": "control_token_as_text", "regions_tokenized_apart": "prompt_not_prefix"}.get(
            kind, kind
        )
    return kind
