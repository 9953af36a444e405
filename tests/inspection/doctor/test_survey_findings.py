"""What labelling counts has its words here: no fact is counted that nobody tells of."""

from typing import get_args

from tests.inspection.doctor.patients import GOOD

from lmhead.data.formats.sample import ChatSample, Place
from lmhead.data.labelling import conversation_facts
from lmhead.data.labelling.conversation_facts import Oddity
from lmhead.data.labelling.survey import Survey
from lmhead.inspection.doctor import conversation_rules
from lmhead.inspection.doctor.survey_findings import survey_findings
from lmhead.labels.example import Note, NoteKind

PLACE = Place(source="chat.jsonl", number=3)
NOT_TOLD = {
    "key_dropped",  # the doctor tells of keys that nothing reads
    "truncated",  # the doctor cuts nothing, and tells what would be
}


def codes(survey: Survey) -> list[str]:
    return [finding.code for finding in survey_findings(survey, None) if finding is not None]


def test_every_oddity_is_looked_for_and_told() -> None:
    assert set(conversation_facts.ODDITIES) == set(conversation_rules.ODDITIES) == set(get_args(Oddity))


def test_every_note_is_told_of_conversations_and_of_texts() -> None:
    for chat in (True, False):
        for kind in set(get_args(NoteKind)) - NOT_TOLD:
            survey = Survey()
            survey.note(PLACE, [Note(kind=kind, message=1, text="the text holds <x>")], chat=chat)
            assert len(codes(survey)) == 1, kind


def test_a_survey_is_told_of_as_before_once_it_was_saved() -> None:
    survey = Survey()
    messages = [{"role": "assistant", "content": " "}, *GOOD[0]["messages"], {"role": "nobody", "content": "Ã\u0083"}]
    survey.look_at(ChatSample(place=PLACE, messages=messages), None)
    assert codes(survey) == ["empty_answer", "assistant_first", "no_last_answer", "unknown_role", "misdecoded_text"]
    again = Survey.of_dict(survey.to_dict())
    assert list(survey_findings(again, None)) == list(survey_findings(survey, None))
