"""What there is to tell of a data set from a Survey's counts: of rows, labels, chat template and tokenizer.

The doctor and training share it: what the one calls an error, the other tells before it starts.
"""

from collections.abc import Iterator

from lmhead.data.labelling.recipe import Recipe
from lmhead.data.labelling.survey import Survey
from lmhead.inspection.doctor.conversation_rules import oddity_findings
from lmhead.inspection.doctor.examined_template import ExaminedTemplate
from lmhead.inspection.doctor.note_rules import end_findings, note_findings
from lmhead.inspection.doctor.probe import TemplateFacts, probe
from lmhead.inspection.doctor.template_rules import template_findings
from lmhead.inspection.doctor.tokenizer_rules import tokenizer_findings
from lmhead.inspection.doctor.unread_rules import unread_findings
from lmhead.inspection.finding import Finding


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
