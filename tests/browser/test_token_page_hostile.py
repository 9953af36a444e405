"""Sixty hostile texts everywhere that a record has text: none runs, none is lost, none breaks the page."""

from pathlib import Path
from typing import Any

from tests.browser import token_records
from tests.browser.hostile import HOSTILE

from lmhead.labels.targets import Reason
from lmhead.record.record import Record
from lmhead.record.token_row import OtherSpan, TokenRow
from lmhead.record.vocabulary import Piece
from lmhead.report.token_page import token_page


def hostile_record() -> Record:
    writer = token_records.Writer()
    rows = []
    for index, text in enumerate(HOSTILE):
        pieces = [Piece(kind=kind, text=text) for kind in ("text", "control")] + [Piece(kind="bytes", text="zz" + text)]
        row = writer.row([(pieces, Reason.SCORED, text)], names=(text,), sources=(HOSTILE[index - 1],))
        against = (OtherSpan(start=1, stop=2, nll=1.0, text=text),)
        rows.append(
            TokenRow(
                ids=row.ids,
                targets=row.targets,
                reason=row.reason,
                spans=row.spans,
                names=row.names,
                sources=row.sources,
                scores=row.scores,
                against=against,
            )
        )
    findings = [
        {"code": text, "severity": text, "message": text, "remedy": text, "places": [text], "rows": [0]}
        for text in HOSTILE
    ]
    return writer.record(
        rows,
        findings=findings,
        title=HOSTILE[8],
        made_by=HOSTILE[0],
        models=list(HOSTILE[:2]),
        data=list(HOSTILE),
        notes=list(HOSTILE),
        tokenizer={"name": HOSTILE[9], "vocab_size": 7},
    )


def test_hostile_texts_are_shown_and_nothing_else(open_page: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(token_page(hostile_record()), encoding="utf-8")
    page = open_page(file, height=1400).page
    page.wait_for_timeout(200)
    made = "script,img,iframe,object,embed,link,base,form:not(#tokens-filters),marquee,video,math,style"
    assert page.locator(f"#tokens :is({made})").count() == 0
    assert page.evaluate("document.scripts.length") == page.evaluate(
        "document.querySelectorAll('body > script').length"
    )
    assert page.locator(".doc").count() == 60
    text = page.evaluate("document.getElementById('tokens-flow').textContent")
    assert HOSTILE[0] in text
    for number in range(0, 180, 7):
        page.evaluate("i => lmheadTokens.select(lmheadTokens.flow, i)", number)
    page.locator("#tokens-order").select_option("loss")
    page.fill("#tokens-search", HOSTILE[0])
    page.wait_for_timeout(300)
    assert page.locator(".t.hit").count() >= 2
    for name in ("role", "source"):
        for value in ("0", "30", "59"):
            page.select_option(f"#tokens-{name}", value)
    page.click("#tokens-clear")
    page.locator("#tokens-panel .worst a").first.click()
    assert page.locator("#tokens-details").is_visible()
