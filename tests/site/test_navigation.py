"""The tree at the side of the site: rooms in the order of index.md, the one of the page unfolded, every page in it."""

import re

from tests.site.conftest import DOCS

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
