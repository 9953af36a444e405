"""The page of a comparison in a browser: no script, readable in both modes, and narrow."""

import pytest
from tests.browser.accessibility import violations
from tests.browser.hostile import HOSTILE
from tests.evaluation.comparison.sums import side, sums

from lmhead.evaluation.comparison.compare import compare
from lmhead.evaluation.comparison.comparison_html import comparison_page


def written(folder, *, name="B", sources=("a", "a/long/path/to/a/folder/of/texts.jsonl")):
    made = compare(
        side(sums(sources=sources)), side(sums(seed=1, shift=-0.02, sources=sources), name, tokenizer="u"), resamples=99
    )
    file = folder / "comparison.html"
    file.write_text(comparison_page(made), encoding="utf-8")
    return file, made


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_accessible_and_fits(open_page, tmp_path, dark, width):
    page = open_page(written(tmp_path)[0], dark=dark, width=width).page
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert violations(page) == []


def test_the_sentence_and_a_bar_for_each_document_are_there(open_page, tmp_path):
    file, made = written(tmp_path)
    page = open_page(file).page
    assert page.locator(".sentence").inner_text() == made.sentence
    assert page.locator("svg rect.second").count() == made.second_better
    assert page.locator("svg rect.first").count() == made.first_better


def test_text_of_data_runs_nowhere(open_page, tmp_path):
    page = open_page(written(tmp_path, name=HOSTILE[0], sources=HOSTILE[:10])[0]).page
    assert page.locator("script").count() == 0
    assert page.locator("img, iframe, [onclick], [onmouseover], [onerror]").count() == 0
