"""docs/about/seeds.md: each row names a test and a page of the course, and its numbers and names stand on that page."""

import re
from pathlib import Path

import pytest

import lmhead

ROOT = Path(__file__).parent.parent
ABOUT = ROOT / "docs" / "about"
TEXT = (ABOUT / "seeds.md").read_text(encoding="utf-8")
ROWS = [line for line in TEXT.splitlines() if re.match(r"\| (?!\| what|what )", line)]
NUMBER = re.compile(r"(?<![\w.,^-])(?:\d+\.\d+(?:e-?\d+)?|\d{3,})(?![\w.]*\d)")


def what(row: str) -> str:
    """A row without its links: what the documents say."""
    return re.sub(r"\[[^\]]*\]\([^)]*\)", "", row)


def pages(row: str) -> list[Path]:
    """The pages of the course that a row names."""
    return [ABOUT / target for target in re.findall(r"\]\((\.\./course/\d\d-[\w-]+\.md)", row)]


def short(row: str) -> str:
    return re.sub(r"[^\w.]+", "-", what(row)).strip("-")[:48]


def test_the_table_is_whole():
    assert len(ROWS) > 60
    lessons = re.findall(r"^## (S\d|Numbers|Where)", TEXT, re.MULTILINE)
    assert lessons == ["S0", "S1", "S2", "S3", "S4", "Numbers", "Where"]


@pytest.mark.parametrize("row", ROWS, ids=short)
def test_a_row_names_a_test_that_exists(row):
    tests = re.findall(r"\[`(test_\w+)`\]\(([^)]+)\)", row)
    assert tests
    for name, file in tests:
        assert f"def {name}(" in (ABOUT / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("row", ROWS, ids=short)
def test_a_row_names_a_page_that_exists_and_has_its_names_and_numbers(row):
    texts = [page.read_text(encoding="utf-8") for page in pages(row)]
    assert texts
    names = set(re.findall(r"`(\w+)[(`]", what(row))) & set(lmhead.__all__)
    assert {name for name in names if not any(name in text for text in texts)} == set()
    assert [number for number in NUMBER.findall(what(row)) if not any(stands(number, text) for text in texts)] == []


def stands(number: str, text: str) -> bool:
    """Whether the page has this number, in prose, code or what a block asserts; 5.92e-25 as 5.92 · 10^-25 too."""
    mantissa, _, exponent = number.partition("e")
    power = rf"(?:e{exponent}|[^\n\d]{{1,12}}10\^?\{{?{exponent}\}}?)" if exponent else ""
    return re.search(rf"(?<![\d.]){re.escape(mantissa)}{power}(?!\d)", text) is not None


def test_a_number_is_found_as_people_write_it():
    assert stands("4.2588", "a loss of 4.2588.")
    assert not stands("4.25", "a loss of 4.2588.")
    assert not stands("0.8", "10.8")
    assert stands("5.92e-25", "is $5.92 \\cdot 10^{-25}$")
    assert stands("5.92e-25", "5.92e-25")
    assert not stands("5.92e-25", "5.92e-26")


def test_what_are_numbers_of_a_row():
    assert NUMBER.findall("| loss 0.495182, T = 5, V 50,000, [464, 3139], 0.8^250 = 5.92e-25, S4, 7.5 %, -100") == [
        "0.495182", "464", "3139", "0.8", "5.92e-25", "7.5"
    ]  # fmt: skip
