"""The token page as a file: its size, what stands in it, and that it says something of every reason."""

import json
import re
from typing import Any

from tests.browser import token_records

from lmhead.labels.targets import Reason
from lmhead.record.record import Record
from lmhead.report.html import asset
from lmhead.report.reason_words import REASON_WORDS
from lmhead.report.token_page import SCRIPTS, STYLES, token_page, token_view


def data_of(page: str, name: str) -> Any:
    found = re.search(f'<script type="application/json" id="data-{name}">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_page_is_small_beside_its_data() -> None:
    page = token_page(token_records.chat_record())
    data = len(json.dumps(token_view(token_records.chat_record()).data))
    assert len(page.encode()) - data < 300_000


def test_the_page_holds_the_rows_as_they_were_recorded() -> None:
    record = token_records.two_models_record()
    page = token_page(record)
    (row,) = data_of(page, "tokens")["rows"]
    (alternatives,) = data_of(page, "token-alternatives")
    for columns, whose in ((row, "scores"), (row["against"], "against")):
        flat = alternatives[whose]
        for name in ("ids", "logprobs"):
            columns[f"top_{name}"] = [flat[name][at : at + 5] for at in range(0, len(flat[name]), flat["k"])]
    assert row == record.rows[0].line()


def test_every_reason_has_words_of_its_own() -> None:
    assert set(REASON_WORDS) == {int(reason) for reason in Reason}
    assert len({words.name for words in REASON_WORDS.values()}) == len(Reason)


def test_every_reason_has_a_pattern() -> None:
    styles = asset("token/chips.css")
    for reason in Reason:
        assert reason is Reason.SCORED or f".y{int(reason)}" in styles


def test_the_scripts_keep_to_one_name_and_never_parse_text() -> None:
    for name in SCRIPTS:
        text = asset(name)
        assert text.startswith('"use strict";\n//'), name
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
            assert way not in text, (name, way)
        assert re.findall(r"^(?:const|let|var|function|class) ", text, re.MULTILINE) == [], name
    assert len(set(STYLES)) == len(STYLES)


def test_a_damaged_record_is_told_on_top() -> None:
    record = Record(damage="log.jsonl: of its lines the last one is cut off; the others are shown")
    assert record.damage in data_of(token_page(record), "tokens")["notes"]


def test_a_title_cannot_turn_its_line_around() -> None:
    page = token_page(Record.of_lines([{"record": 1, "title": "chat\u202elnosj\x1b"}]))
    assert "<h1>chat\\u202elnosj\\x1b</h1>" in page
    assert "\u202e" not in page


def test_half_a_surrogate_pair_in_a_title_can_be_written() -> None:
    page = token_page(Record(header={"record": 1, "title": "a\ud83d<b>", "made_by": "\ud83d&"}))
    assert b"<title>a\\ud83d&lt;b&gt;</title>" in page.encode()
