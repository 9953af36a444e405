"""The whole documentation as a site, without running its pages: no warning, names, heads, formulas, no network."""

import html
import re

import pytest
from tests.site.conftest import DOCS

import lmhead
from lmhead import figures

RESOURCE = re.compile(r'<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href|srcset)="([^"]+)"')


@pytest.fixture(scope="module")
def pages(whole_site):
    """By its path in the site, the text of each page."""
    files = sorted(whole_site.folder.rglob("*.html"))
    return {file.relative_to(whole_site.folder).as_posix(): file.read_text(encoding="utf-8") for file in files}


def test_links_anchors_references_and_names_lead_somewhere(whole_site):
    assert whole_site.warnings == []
    assert whole_site.status == 0


def test_every_page_of_the_documentation_is_there(pages):
    sources = {page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.rglob("*.md")} - {"README"}
    assert {f"{source}.html" for source in sources} - set(pages) == set()


def test_every_public_name_is_in_the_reference(whole_site):
    from sphinx.util.inventory import InventoryFile

    known = InventoryFile.loads((whole_site.folder / "objects.inv").read_bytes(), uri="").data
    documented = {name for kind, names in known.items() if kind.startswith("py:") for name in names}
    public = {f"lmhead.{name}" for name in lmhead.__all__} | {f"lmhead.figures.{name}" for name in figures.__all__}
    assert {name for name in public if not name.startswith("lmhead.__")} - documented == set()


def test_names_in_code_spans_lead_to_the_reference(pages):
    assert re.search(
        r'<a class="reference internal" href="\.\./reference/[\w-]+\.html#lmhead\.\w+', pages["loss/op.html"]
    )


def test_every_page_has_a_head(pages):
    for name, page in pages.items():
        assert re.search(r"<title>[^<]*\w[^<]*</title>", page), name
        assert '<html class="no-js" lang="en"' in page, name
        written = not name.startswith("files/") and name not in ("search.html", "genindex.html", "py-modindex.html")
        told = re.search(r'<meta name="description" content="([^"]*)"', page)
        assert not written or (told is not None and 20 <= len(html.unescape(told[1])) <= 160), name


def test_no_page_asks_for_anything_elsewhere(pages):
    outside = {
        (name, link)
        for name, page in pages.items()
        for link in RESOURCE.findall(page)
        if re.match(r"(https?:)?//", link)
    }
    assert outside == set()
    assert not any("mathjax" in page.lower().replace("mathjax_ignore", "") for page in pages.values())


def test_every_link_of_every_page_leads_to_a_file_of_the_site(whole_site, pages):
    """The built HTML itself, whatever made its links."""
    ids = {name: set(re.findall(r'\bid="([^"]+)"', page)) for name, page in pages.items()}
    broken = set()
    for name, page in pages.items():
        for link in re.findall(r'<a\b[^>]*\bhref="([^"]+)"', page):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (whole_site.folder / name).parent / path if path else whole_site.folder / name
            if not target.exists():
                broken.add((name, link))
                continue
            known = target.resolve().relative_to(whole_site.folder.resolve()).as_posix()
            if anchor and known in ids and anchor not in ids[known]:
                broken.add((name, link))
    assert broken == set()


def test_both_themes_have_the_colours_of_the_figures(pages):
    from lmhead.figures.theme import THEMES

    page = pages["index.html"]
    for theme in THEMES.values():
        assert f"--color-brand-primary: {theme.learnt};" in page
        assert f"--color-background-primary: {theme.background};" in page


def test_every_picture_has_a_light_and_a_dark_image(pages):
    page = pages["seeing/inspect.html"]
    light, dark = (
        re.search(rf'<img alt="([^"]+)" class="{theme}" src="([^"]+)"', page) for theme in ("only-light", "only-dark")
    )
    assert light[1] == dark[1]
    assert (light[2], dark[2]) == ("../_images/inspect-light.png", "../_images/inspect-dark.png")


def test_the_course_can_be_downloaded(whole_site, pages):
    course = [name for name in pages if re.match(r"course/\d\d-", name)]
    assert len(course) >= 12
    for name in course:
        file = f"{name.rpartition('/')[2].removesuffix('.html')}.ipynb"
        assert f'<a href="{file}" download>Download as a notebook</a>' in pages[name]
        assert (whole_site.folder / "course" / file).exists()
