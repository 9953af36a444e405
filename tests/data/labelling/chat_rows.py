"""Rows as formats read them, for the tests of what messages become."""

from lmhead.data.formats.formats import format_of
from lmhead.data.formats.sample import ChatSample, Sample
from lmhead.data.rows.row import Place, Row

PLACE = Place(source="rows.jsonl", number=1, unit="line")
USER = {"role": "user", "content": "Hi"}
ASSISTANT = {"role": "assistant", "content": "Hello"}
CALL = {"type": "function", "function": {"name": "f", "arguments": {"city": "Bern"}}}


def read(**columns: object) -> Sample:
    row = Row(place=PLACE, columns=columns)
    return format_of(row).read(row)


def messages(**columns: object) -> list[dict[str, object]]:
    sample = read(**columns)
    assert isinstance(sample, ChatSample)
    return [dict(message) for message in sample.messages]


def user(*content: object) -> dict[str, object]:
    return {"role": "user", "content": list(content)}


def assistant(*content: object) -> dict[str, object]:
    return {"role": "assistant", "content": list(content)}
