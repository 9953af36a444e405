"""Findings about a data set from a Survey's counts: of rows, labels, chat template and tokenizer.

The doctor and training share it: what the one calls an error, the other tells before it starts.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from tokenizers import Tokenizer

from lmhead.data.formats.unread import Unread
from lmhead.data.labelling.recipe import Recipe
from lmhead.data.labelling.survey import Survey
from lmhead.data.sets.documents import Documents
from lmhead.data.tokenizer.plain_text import PlainText
from lmhead.inspection.doctor.conversation_rules import oddity_findings
from lmhead.inspection.doctor.examined_template import ExaminedTemplate
from lmhead.inspection.doctor.note_rules import end_findings, note_findings
from lmhead.inspection.doctor.probe import TemplateFacts, probe
from lmhead.inspection.doctor.template_rules import template_findings
from lmhead.inspection.doctor.tokenizer_rules import tokenizer_findings
from lmhead.inspection.doctor.unread_rules import CODES, unread_findings
from lmhead.inspection.finding import Finding, worst_first
from lmhead.options import Message

_TOLD_TOO: Final = (*CODES, "control_token_as_text")  # by training, though they are no errors


def survey_findings(survey: Survey, recipe: Recipe | None, *, has_data: bool = True) -> Iterator[Finding | None]:
    """Every finding about template, tokenizer, labels and rows; None among them.

    Args:
        recipe: how rows are labelled; None: they are ids.
        has_data: else the template is judged for any.
    """
    told: frozenset[str] = frozenset()
    if recipe is not None:
        chat = survey.usage.counts["chat"] > 0 or not has_data
        template = ExaminedTemplate(recipe)
        facts = probe(template) if chat else TemplateFacts()
        usage, given = survey.usage if has_data else None, recipe.config.date is not None
        about = list(template_findings(facts, usage, date_given=given)) if chat else []
        about += tokenizer_findings(template, facts, chat=chat)
        told = frozenset(finding.code for finding in about if finding is not None)
        yield from about
    yield from note_findings(survey.found, told)
    yield from end_findings(survey.found)
    yield from oddity_findings(survey.found)
    yield from unread_findings(survey.unread)
    yield Finding.counted(
        "misdecoded_text",
        "warning",
        survey.found,
        "characters were decoded wrongly in {rows}: {first}",
        "read the source again with the encoding that it was written in; a model learns to write this",
    )


def told_of(survey: Survey, recipe: Recipe | None) -> Iterator[str]:
    """What a run tells of its data before it starts: a line for each finding, and one for what to do about it.

    Args:
        recipe: how rows are labelled; None: they are not, they are plain text.
    """
    for finding in worst_first(survey_findings(survey, recipe)):
        if finding.severity == "error" or finding.code in _TOLD_TOO:
            yield finding.head()
            yield Message(f"    -> {Message(finding.remedy).marked}")


def told_of_texts(parts: Iterable[Documents], unread: Unread, tokenizer: Tokenizer) -> Iterator[str]:
    """The same of texts that are encoded end to end."""
    survey, plain = Survey(), PlainText(tokenizer)
    survey.unread = unread
    for documents in parts:
        for place, utf8 in zip(documents.places(), documents.every_utf8(), strict=True):
            if notes := plain.control_notes(str(utf8, "utf-8")):
                survey.note(place, notes, chat=False)
    return told_of(survey, None)
