"""The page's benchmark opens a page, scrolls it and finds what it looks for."""

from typing import Any

from benchmarks.page import NAMES, measured
from tests.browser import token_records

from lmhead.report.token_page import token_page


def test_every_figure_is_measured(browser: Any, tmp_path: Any) -> None:
    file = tmp_path / "report.html"
    file.write_text(token_page(token_records.long_record(2_000)), encoding="utf-8")
    found = measured(browser, file)
    assert set(found) == set(NAMES)
    assert all(value > 0 for value in found.values())
