"""What a page says of itself in its head, and what furo and Sphinx write that a screen reader would stumble over."""

import html
from typing import Any, Final

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
MOST: Final = 160  # characters that a search engine shows


def describe(
    app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """`html-page-context`: the description; a page without a title fails the build."""
    if context.get("title") == app.config.project:
        context["docstitle"] = ""  # "lmhead", not "lmhead - lmhead"
    navigation = "furo_navigation_tree"
    if navigation in context:  # a heading says of what level it is
        context[navigation] = context[navigation].replace('role="heading"', 'role="heading" aria-level="2"')
    if doctree is None:
        return
    if not any(doctree.findall(nodes.title)):
        LOGGER.warning("a page needs a title: # Title", location=pagename, type="lmhead", subtype="title")
    description = description_of(doctree)
    if description:
        tag = f'<meta name="description" content="{html.escape(description, quote=True)}">'
        context["metatags"] = f"{context.get('metatags', '')}\n{tag}"


def description_of(doctree: nodes.document) -> str:
    """The first paragraph under a title, or of what there is, cut at a word's end."""
    paragraphs = list(doctree.findall(nodes.paragraph))
    first = next((each for each in paragraphs if isinstance(each.parent, nodes.section)), None)
    if first is None:
        first = next(iter(paragraphs), None)
    text = " ".join(first.astext().split()) if first is not None else ""
    return text if len(text) <= MOST else text[: MOST - 1].rpartition(" ")[0] + "…"
