"""Survey: what the rows of a data set are found to be, before they are labelled and after, and the findings of it.

The doctor and training share it: what the one calls an error, the other tells before it starts.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from lmhead.data.formats.sample import ChatSample, CompletionSample, Sample, TextSample
from lmhead.data.formats.unread import Unread
from lmhead.data.labelling.recipe import Recipe
from lmhead.data.labelling.tally import Tally
from lmhead.data.rows.row import Place
from lmhead.inspection.doctor import conversation_rules, unread_rules
from lmhead.inspection.doctor import note_rules as label_rules
from lmhead.inspection.doctor.conversation_rules import text_of
from lmhead.inspection.doctor.examined_template import ExaminedTemplate
from lmhead.inspection.doctor.probe import TemplateFacts, probe
from lmhead.inspection.doctor.template_rules import template_findings
from lmhead.inspection.doctor.tokenizer_rules import tokenizer_findings
from lmhead.inspection.finding import Finding
from lmhead.labels.example import Example, Note

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
            conversation_rules.note_use(sample, self.usage)
            conversation_rules.look_at(sample, self.found)
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
        """Count the notes of a row, of a conversation or of a text without roles."""
        label_rules.look_at(place, notes, chat, self.found, self.usage)

    def findings(self, recipe: Recipe | None, *, has_data: bool = True) -> Iterator[Finding | None]:
        """Every finding about template, tokenizer, labels and rows; None among them.

        Args:
            recipe: how rows are labelled; None: they are ids.
            has_data: else the template is judged for any.
        """
        told: frozenset[str] = frozenset()
        if recipe is not None:
            chat = self.usage.counts["chat"] > 0 or not has_data
            template = ExaminedTemplate(recipe)
            facts = probe(template) if chat else TemplateFacts()
            usage, given = self.usage if has_data else None, recipe.config.date is not None
            about = list(template_findings(facts, usage, date_given=given)) if chat else []
            about += tokenizer_findings(template, facts, chat=chat)
            told = frozenset(finding.code for finding in about if finding is not None)
            yield from about
        yield from label_rules.note_findings(self.found, told)
        yield from label_rules.end_findings(self.found)
        yield from conversation_rules.findings(self.found)
        yield from unread_rules.findings(self.unread)
        yield self.found.finding(
            "misdecoded_text",
            "warning",
            "characters were decoded wrongly in {rows}: {first}",
            "read the source again with the encoding that it was written in; a model learns to write this",
        )

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
