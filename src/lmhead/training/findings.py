"""What a run tells of its data before it starts: what `lmhead doctor` calls an error, and what nothing reads."""

from collections.abc import Iterable, Iterator
from typing import Final

from tokenizers import Tokenizer

from lmhead.data.formats.unread import Unread
from lmhead.data.labelling.recipe import Recipe
from lmhead.data.labelling.survey import Survey
from lmhead.data.sets.documents import Documents
from lmhead.data.tokenizer.plain_text import PlainText
from lmhead.inspection.doctor.survey_findings import survey_findings
from lmhead.inspection.doctor.unread_rules import CODES
from lmhead.inspection.finding import worst_first
from lmhead.options import Message

_TOLD_TOO: Final = (*CODES, "control_token_as_text")  # though they are no errors


def told_of(survey: Survey, recipe: Recipe | None) -> Iterator[str]:
    """A line for each finding, and one for what to do about it.

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
