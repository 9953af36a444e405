"""Fifty thousand tokens: drawn where they are seen, found wherever they are."""

from pathlib import Path
from typing import Any

import pytest
from tests.browser import token_records

from lmhead.report.token_page import token_page


@pytest.fixture(scope="module")
def long_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("long") / "report.html"
    file.write_text(token_page(token_records.long_record()), encoding="utf-8")
    return file


def drawn(page: Any) -> int:
    return int(page.locator("#tokens-flow .t").count())


def test_only_what_is_near_the_window_is_drawn(open_page: Any, long_page: Path) -> None:
    page = open_page(long_page).page
    page.wait_for_timeout(200)
    assert "50,000 tokens" in page.inner_text("#tokens-headline")
    assert 200 < drawn(page) < 6_000
    for share in (0.2, 0.5, 0.9, 1.0, 0.0):
        page.evaluate("share => window.scrollTo(0, share * document.documentElement.scrollHeight)", share)
        page.wait_for_timeout(150)
        middle = page.evaluate("document.elementFromPoint(300, 500).closest('.run')?.childNodes.length ?? 1")
        assert middle > 0
        assert drawn(page) < 6_000


def test_a_link_into_the_middle_shows_its_token(open_page: Any, long_page: Path) -> None:
    page = open_page(long_page, fragment="#d60-t30").page
    page.wait_for_timeout(400)
    box = page.locator(".t.on").bounding_box()
    assert box is not None
    assert 100 < box["y"] < 800
    assert page.inner_text("#tokens-token .facts a") == "#d60-t30"


def test_arrows_go_on_where_nothing_was_drawn(open_page: Any, long_page: Path) -> None:
    page = open_page(long_page, fragment="#d60-t30").page
    page.wait_for_timeout(300)
    first = page.evaluate("lmheadTokens.flow.current")
    for _ in range(60):
        page.keyboard.press("ArrowDown")
    assert page.evaluate("lmheadTokens.flow.current") > first + 500
    assert page.locator(".t.on").is_visible()


def test_a_filter_reaches_all_of_them(open_page: Any, long_page: Path) -> None:
    page = open_page(long_page).page
    expected = page.evaluate(
        "lmheadTokens.model.nll.reduce((n, v, i) => n + (v > 8 && lmheadTokens.model.reason[i] === 0), 0)"
    )
    page.fill("#tokens-above", "8")
    page.wait_for_timeout(400)
    assert page.inner_text("#tokens-matches").startswith(f"{expected:,} tokens")
    page.click("#tokens-next")
    assert page.locator(".t.on").is_visible()
    assert page.evaluate("lmheadTokens.model.nll[lmheadTokens.flow.current]") > 8
