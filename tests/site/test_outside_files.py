"""Files around the pages: what cannot be decoded is told with its line, and what left docs/ leaves the site."""

from types import SimpleNamespace

import pytest

pytest.importorskip("myst_nb", reason="the site needs myst-nb: pip install 'lmhead[docs]'")

from lmhead_site import stale_pages
from lmhead_site.outside_files import KEY, page_text
from lmhead_site.page_cells import PageError


def test_a_page_that_is_not_utf8_is_told_with_its_line(tmp_path):
    page = tmp_path / "page.md"
    page.write_bytes("# Page\n\ncaf\xe9\n".encode("latin-1"))
    with pytest.raises(PageError, match=r"page\.md is not UTF-8 \(the byte 0xe9\): save it as UTF-8") as refused:
        page_text(page, tmp_path)
    assert refused.value.line == 3


def site_of(folder, format="html"):
    """A built site of two pages, one of the course, that shows one file; with more in its folder than that."""
    kept = ["index.html", "search.html", "course/01-a.html", "course/01-a.ipynb", "files/a.py.html", "_static/a.html"]
    gone = ["left.html", "course/02-left.html", "course/02-left.ipynb", "files/left.py.html", "index.ipynb"]
    for name in [*kept, *gone]:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    env = SimpleNamespace(found_docs={"index", "course/01-a"}, metadata={"index": {KEY: {"a.py"}}, "course/01-a": {}})
    return SimpleNamespace(builder=SimpleNamespace(format=format), env=env, outdir=folder), kept, gone


def files(folder):
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def test_what_left_the_pages_leaves_the_site(tmp_path):
    site, kept, _ = site_of(tmp_path)
    stale_pages.remove(site, None)
    assert files(tmp_path) == {*kept}


@pytest.mark.parametrize(("format", "failed"), [("html", ValueError()), ("latex", None)])
def test_a_build_that_failed_or_made_no_pages_removes_nothing(tmp_path, format, failed):
    site, kept, gone = site_of(tmp_path, format)
    stale_pages.remove(site, failed)
    assert files(tmp_path) == {*kept, *gone}
