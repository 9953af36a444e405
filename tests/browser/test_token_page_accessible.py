"""axe-core finds no violation of level A or AA, in both modes, wide and narrow, whatever is open."""

from pathlib import Path
from typing import Any

import pytest
from tests.browser import token_records
from tests.browser.accessibility import violations

from lmhead.report.token_page import token_page

RECORDS = {
    "chat": token_records.chat_record,
    "scripts": token_records.scripts_record,
    "two": token_records.two_models_record,
}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", RECORDS)
def test_axe_finds_no_violation(open_page: Any, tmp_path: Path, name: str, dark: bool) -> None:
    record = RECORDS[name]()
    record.header["notes"] = ["A sentence on top."]
    record.findings = [
        {"code": "a", "severity": severity, "message": "It is so", "remedy": "Do this", "rows": [0]}
        for severity in ("error", "warning", "info", "info", "info")
    ]
    file = tmp_path / "report.html"
    file.write_text(token_page(record), encoding="utf-8")
    page = open_page(file, dark=dark, height=1800, fragment="#d0-t4").page
    page.wait_for_timeout(200)
    assert violations(page) == []
    page.select_option("#tokens-reason", "0")
    page.fill("#tokens-search", "a")
    page.check("#tokens-untrained")
    page.wait_for_timeout(300)
    assert violations(page) == []


def test_axe_finds_no_violation_on_a_phone(open_page: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(token_page(token_records.chat_record()), encoding="utf-8")
    page = open_page(file, width=390, height=844).page
    page.click("#tokens-summary > summary")
    page.click("#tokens-tools > summary")
    assert violations(page) == []
    page.evaluate("location.hash = '#d0-t40'")
    page.wait_for_timeout(200)
    assert violations(page) == []


def test_everything_is_reached_by_the_tabulator(open_page: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(token_page(token_records.chat_record()), encoding="utf-8")
    page = open_page(file).page
    page.wait_for_timeout(150)
    reached = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
    for name in ("search", "reason", "role", "source", "document", "above", "order", "colour", "untrained", "flow"):
        assert f"tokens-{name}" in reached
