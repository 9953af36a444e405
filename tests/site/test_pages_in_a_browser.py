"""Some pages of the site in a browser that is offline; `python -m tests.nightly.site` looks at every one, executed."""

import pytest
from tests.site.pages_in_a_browser import PHONE, faults_of, show

PAGES = ["index.html", "seeing/figures.html", "loss/mtp_serving.html", "search.html"]


@pytest.fixture
def page(browser):
    context = browser.new_context(offline=True)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_sound_wide_and_on_a_phone_light_and_dark(name, page, whole_site):
    assert faults_of(page, whole_site.folder / name) == []


def test_a_theme_shows_its_own_images(page, whole_site):
    for dark, shown in ((False, "light"), (True, "dark")):
        show(page, whole_site.folder / "seeing/figures.html", width=PHONE, dark=dark)
        visible = page.evaluate(
            "[...document.querySelectorAll('.themed img')].filter(i => i.checkVisibility()).map(i => i.src)"
        )
        assert len(visible) >= 9
        assert all(f"-{shown}.png" in source for source in visible)


def test_a_search_finds_pages_without_a_server(page, whole_site):
    page.goto((whole_site.folder / "search.html").as_uri() + "?q=perplexity")
    page.locator("#search-results li a").first.wait_for()
    assert page.locator("#search-results li a").count() > 2


def test_what_reaches_out_of_the_window_would_be_seen(page, tmp_path):
    wide = tmp_path / "wide.html"
    body = '<article><p style="width: 600px">wide</p><img src="https://example.org/x.png"></article>'
    wide.write_text(f"<!doctype html><title>x</title>{body}", encoding="utf-8")
    told = "\n".join(faults_of(page, wide))
    for fault in ("html-has-lang", "image-alt", "360 px: wider than its window", "asks for https://example.org/x.png"):
        assert fault in told
