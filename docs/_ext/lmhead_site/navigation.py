"""The tree at the side of every page: the rooms in their order, each folded but for the one that the page is in.

It is what index.md says: a toctree with a caption is a room. Where the room's first page is its README, the caption
leads there. Sphinx's own tree copies every heading of every page for every page, to throw them away; this one reads
titles.
"""

import html
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A toctree of the first page: its caption, "" for pages that stand alone, and (title, docname) of its pages."""

    caption: str
    pages: list[tuple[str, str]]


def give_tree(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """`html-page-context`, before the theme asks for its tree."""
    if "toctree" in context:
        context["toctree"] = lambda **options: "".join(_tree(app, pagename))


def tell_same_titles(app: Sphinx, env: BuildEnvironment) -> None:
    """`env-check-consistency`: two pages of a room with one title, of which a reader does not know which is which."""
    for room in rooms_of(env):
        first: dict[str, str] = {}
        for title, docname in room.pages:
            other = first.setdefault(title, docname)
            if other != docname:
                what = "%s has the title %s too: give one of the two another"
                LOGGER.warning(what, env.doc2path(other, False), title, location=(docname, 1), type="lmhead")


def rooms_of(env: BuildEnvironment) -> list[Room]:
    """As the first page has them."""
    return [
        Room(
            caption=toctree.get("caption") or "",
            pages=[
                (title or env.titles[docname].astext(), docname)
                for title, docname in toctree["entries"]
                if docname in env.titles
            ],
        )
        for toctree in env.master_doctree.findall(addnodes.toctree)
    ]


def _tree(app: Sphinx, pagename: str) -> Iterator[str]:
    yield "<ul>"
    for room in rooms_of(app.env):
        pages = [_item(app, pagename, title, docname, level=2) for title, docname in room.pages]
        if not room.caption:
            yield from (_item(app, pagename, title, docname, level=1) for title, docname in room.pages)
            continue
        first = room.pages[0][1]
        inside = pages[1:] if first.endswith("README") else pages
        here = any(docname == pagename for _, docname in room.pages)
        yield f'<li class="toctree-l1{" current" if here else ""}">{_link(app, pagename, room.caption, first)}'
        yield f"<ul>{''.join(inside)}</ul></li>"
    yield "</ul>"


def _item(app: Sphinx, pagename: str, title: str, docname: str, *, level: int) -> str:
    current = " current" if docname == pagename else ""
    return f'<li class="toctree-l{level}{current}">{_link(app, pagename, title, docname)}</li>'


def _link(app: Sphinx, pagename: str, title: str, docname: str) -> str:
    target = "#" if docname == pagename else app.builder.get_relative_uri(pagename, docname)
    here = ' aria-current="page"' if docname == pagename else ""
    return f'<a class="reference internal" href="{target}"{here}>{html.escape(title)}</a>'
