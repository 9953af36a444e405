"""An inspection in a notebook's cell: the page in a frame runs there, and nothing of it reaches out."""

import pytest
from tests.browser.hostile import HOSTILE
from tests.inspection.tokens.tokenizers_of_kinds import byte_level

import lmhead


@pytest.fixture
def notebook(tmp_path):
    """A page with the HTML that a notebook puts into a cell."""
    backend = byte_level(300)
    ids = backend.encode(" ".join(HOSTILE).encode("utf-8", "replace").decode()).ids
    seen = lmhead.inspect({"input_ids": [ids], "labels": [ids]}, tokenizer=backend)
    file = tmp_path / "notebook.html"
    file.write_text(f"<!doctype html><meta charset=utf-8><title>cell</title>{seen._repr_html_()}", encoding="utf-8")
    return file


def test_the_frame_shows_the_tokens(notebook, open_page):
    page = open_page(notebook).page
    frame = page.frame_locator("iframe")
    frame.locator("#tokens-flow [data-i]").first.wait_for()
    assert "are trained" in frame.locator("#tokens-headline").inner_text()
    assert page.title() == "cell"


def test_links_of_the_frame_stay_in_it(tmp_path, open_page):
    backend = byte_level(300)
    ids = backend.encode("the end of the thing").ids
    seen = lmhead.inspect({"input_ids": [ids], "labels": [[*ids[1:], -100]]}, tokenizer=backend)
    file = tmp_path / "notebook.html"
    file.write_text(f"<!doctype html><meta charset=utf-8><title>cell</title>{seen._repr_html_()}", encoding="utf-8")
    frame = open_page(file).page.frame_locator("iframe")
    frame.locator("#tokens-findings a").nth(1).click()
    assert "are trained" in frame.locator("#tokens-headline").inner_text()
    assert frame.locator("#tokens-token dt").count() > 0
