"""A comparison as text, Markdown and a page: 80 columns, nothing of the data obeyed, the picture to scale."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from tests.evaluation.comparison.sums import side, sums

from lmhead.evaluation.comparison.compare import compare, compare_all
from lmhead.evaluation.comparison.comparison_html import comparison_page
from lmhead.evaluation.comparison.sentence import amount

QUICK = {"resamples": 199}
EVIL = "<script>alert(1)</script>\x1b[2J | `x`"


def made(n=40, *, name="B", sources=("a", "b"), shift=-0.03, **more):
    return compare(
        side(sums(n, sources=sources)), side(sums(n, seed=1, shift=shift, sources=sources), name, **more), **QUICK
    )


def test_text_is_of_80_columns():
    text = str(
        made(sources=("short", "a/folder/of/a/folder/of/a/folder/with-a-long-name.jsonl"), reading={"window": 8})
    )
    assert max(map(len, text.splitlines())) <= 80
    assert "long-name.jsonl" in text  # the end of a path is what tells it


def test_a_terminal_shows_the_sources_that_differ_most():
    text = str(made(120, sources=[f"source-{number}" for number in range(30)]))
    assert text.count("source-") == 12
    assert "the 12 of 30 that differ most" in text


def test_nothing_of_the_data_is_obeyed():
    shown = made(name=EVIL, sources=("a", EVIL))
    assert "\x1b" not in str(shown) + shown.markdown() + shown.html() + shown.sentence
    assert "<script>" not in shown.markdown().replace("\\<script", "")
    assert "<script>" not in shown.html()
    for row in shown.markdown().splitlines():
        if row.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", row)) in (5, 7)


def test_the_page_runs_no_script_and_its_policy_allows_none():
    page = comparison_page(made(name=EVIL))
    assert "script-src &#x27;none&#x27;" in page
    assert " style=" not in page


@pytest.mark.parametrize("n", [2, 40, 900])
def test_bars_are_the_documents_sorted_and_to_scale(n):
    shown = made(n)
    svg = ElementTree.fromstring(re.search(r"<svg.*?</svg>", shown.html(), re.DOTALL)[0])
    bars = [bar for bar in svg.iter("rect") if bar.get("class") in ("first", "second")]
    assert len(bars) == min(n, 400)
    zero = float(next(line for line in svg.iter("line") if line.get("class") == "zero").get("y1"))
    heights = [
        float(bar.get("height")) * (1 if bar.get("class") == "first" else -1) for bar in bars
    ]  # more bits: the first is better
    assert heights == sorted(heights)
    for bar, height in zip(bars, heights, strict=True):
        edge = float(bar.get("y")) + (float(bar.get("height")) if height > 0 else 0)
        assert edge == pytest.approx(zero, abs=0.02)
    if shown.difference.low is not None:
        band = next(bar for bar in svg.iter("rect") if bar.get("class") == "band")
        dashed = float(next(line for line in svg.iter("line") if line.get("class") == "value").get("y1"))
        assert float(band.get("y")) <= dashed <= float(band.get("y")) + float(band.get("height"))


def test_no_picture_of_equal_evaluations():
    equal = compare(side(sums()), side(sums(), "B"), **QUICK)
    assert "<svg" not in equal.html()
    assert "exactly the same" in equal.html()


def test_markdown_and_html_hold_the_sentence():
    shown = made()
    assert shown.sentence in shown.html()
    assert shown.sentence in shown.markdown()


def test_every_verdict_is_shown():
    for shown in [
        made(1),
        made(3),
        made(shift=0.0),
        *compare_all(side(sums()), [side(sums(seed=1), "B"), side(sums(), "C")], **QUICK),
        replace(made(), figure_name="accuracy"),
    ]:
        for text in (str(shown), shown.markdown(), shown.html()):
            assert "nan" not in text.lower().replace("finance", "")


@pytest.mark.parametrize(
    ("value", "scale", "said"),
    [(0.5, 0.1, "0.5000"), (1e-6, 2e-7, "0.00000100"), (-1e-9, 1e-3, "0.0000"), (0.0, 0.0, "0.0000")],
)
def test_numbers_have_the_digits_that_their_interval_allows(value, scale, said):
    assert amount(value, scale) == said
