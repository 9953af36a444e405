"""The page of an evaluation card in a browser: no script, nothing asked for, readable in both modes, and narrow."""

import re
from dataclasses import replace

import pytest
from tests.browser.accessibility import violations
from tests.browser.hostile import HOSTILE
from tests.evaluation.card.cards import card_of, documents, whole_card


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_accessible_and_fits(open_page, tmp_path, dark, width):
    file = whole_card(chat=True).save(tmp_path / "card.html")
    page = open_page(file, dark=dark, width=width).page
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert violations(page) == []


def test_figures_and_charts_are_there(open_page, tmp_path):
    card = whole_card(chat=True, count=120)
    page = open_page(card.save(tmp_path / "card.html")).page
    assert page.locator(".tiles b").first.inner_text() == f"{card.figures.bits_per_byte:.4f}"
    bins = sum(each.tokens > 0 for each in card.calibration.bins)
    assert page.locator(".reliability .dot").count() == bins
    assert page.locator("svg.in-row .whisker").count() == 3 * len(card.sources)
    link = page.locator("td a, th a").first
    assert re.fullmatch(r"inspect\.html#row0-t0", link.get_attribute("href"))


def test_text_of_data_runs_nowhere(open_page, tmp_path):
    named = [
        replace(each, document=replace(each.document, source=HOSTILE[place % len(HOSTILE)]))
        for place, each in enumerate(documents(count=60))
    ]
    card = card_of(named, name=HOSTILE[0], notes=HOSTILE[:30], inspect='x" onclick="alert(1)')
    page = open_page(card.save(tmp_path / "card.html")).page
    assert page.locator("script").count() == 0
    assert page.locator("img, iframe, [onclick], [onmouseover], [onerror]").count() == 0
