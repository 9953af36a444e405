"""The tree at the side of the site: rooms in the order of index.md, the one of the page unfolded, every page in it."""

import re

import pytest
from tests.site.conftest import DOCS, build

LINK = re.compile(r'<a class="reference internal" href="([^"]+)"')


def tree(site, name):
    page = (site.folder / name).read_text(encoding="utf-8")
    return page[page.index('<div class="sidebar-tree">') :].partition("</div>")[0]


def test_every_page_is_in_the_tree_and_the_course_in_its_order(whole_site):
    links = LINK.findall(tree(whole_site, "index.html"))
    sources = {page.relative_to(DOCS).with_suffix(".html").as_posix() for page in DOCS.rglob("*.md")}
    assert {*links} == sources - {"README.html", "index.html"}
    course = [link for link in links if re.match(r"course/\d", link)]
    assert course == sorted(course)
    assert len(course) >= 12


def test_the_room_of_the_page_is_unfolded_and_no_other(whole_site):
    shown = tree(whole_site, "course/02-cross-entropy.html")
    assert shown.count("checked") == 1
    assert re.search(r'<li class="toctree-l1 current has-children"><a [^>]*href="README.html"[^>]*>Course</a>', shown)
    assert re.findall(r'<a[^>]*aria-current="page"[^>]*>([^<]*)', shown) == ["2. Cross-entropy by hand"]
    assert 'href="../about/glossary.html"' in shown


@pytest.fixture
def small(tmp_path):
    """A site of three pages in a room, two of them with one title."""
    docs = tmp_path / "docs"
    docs.mkdir()
    names = ("one", "two", "three")
    (docs / "index.md").write_text("# Index\n\nx\n\n:::{toctree}\n:caption: Room\n" + "\n".join(names) + "\n:::\n")
    for name in names:
        (docs / f"{name}.md").write_text(f"# {'One' if name == 'three' else name.title()}\n\nx\n")
    return docs


def test_one_title_twice_in_a_room_is_told_and_a_page_that_left_leaves_the_site(small, tmp_path):
    first = build(small, tmp_path / "built")
    assert len(first.warnings) == 1
    assert "three.md:1: WARNING: one.md has the title One too: give one of the two another" in first.warnings[0]
    (small / "three.md").unlink()
    index = (small / "index.md").read_text()
    (small / "index.md").write_text(index.replace("three\n", ""))
    assert (first.folder / "three.html").exists()
    second = build(small, tmp_path / "built")
    assert (second.status, second.warnings) == (0, [])
    assert sorted(page.name for page in second.folder.glob("*.html")) == [
        *("genindex.html", "index.html", "one.html", "search.html", "two.html")
    ]


def test_a_page_that_is_not_utf8_is_named_with_its_line(small, tmp_path):
    (small / "two.md").write_bytes("# Two\n\ncaf\xe9\n".encode("latin-1"))
    refused = build(small, tmp_path / "built")
    assert refused.status != 0
    told = "\n".join(refused.warnings)
    assert "docs/two.md:3: two.md is not UTF-8 (the byte 0xe9): save it as UTF-8" in told
