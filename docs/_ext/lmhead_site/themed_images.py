"""`<picture>` of a page: the light image and the dark one, of which a theme shows one, with their alternative text."""

import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)


class ThemedImages(SphinxTransform):
    """Raw HTML with `<picture>` becomes two images; an image without a text for it fails the build."""

    default_priority = 200

    def apply(self, **kwargs: Any) -> None:
        for raw in list(self.document.findall(nodes.raw)):
            if raw.get("format") == "html" and re.match(r"\s*<picture\b", raw.astext()):
                raw.replace_self(self._images(raw))
            elif re.search(r"<img\b(?![^>]*\balt=\"[^\"])", raw.astext()):
                LOGGER.warning(
                    'an image needs an alternative text: alt="what it shows"',
                    location=raw,
                    type="lmhead",
                    subtype="alt",
                )
        for image in self.document.findall(nodes.image):
            if not image.get("alt", "").strip():
                LOGGER.warning(
                    "an image needs an alternative text: ![what it shows](%s)",
                    image["uri"],
                    location=_with_line(image),
                    type="lmhead",
                    subtype="alt",
                )

    def _images(self, raw: nodes.raw) -> nodes.container:
        picture = _Picture()
        picture.feed(raw.astext())
        container = nodes.container(classes=["themed"])
        container.source, container.line = raw.source, raw.line
        files = (("only-light", picture.light), ("only-dark", picture.dark or picture.light))
        for theme, file in files:
            image = nodes.image(uri=self._uri(file), alt=picture.alt, classes=[theme])
            image.source, image.line = raw.source, raw.line
            container += image
        return container

    def _uri(self, file: str) -> str:
        """Of a file that the build has drawn, seen from docs/; of a page's own, as it is written."""
        return f"/{os.path.relpath(file, self.env.srcdir)}" if Path(file).is_absolute() else file


def _with_line(node: nodes.Element) -> nodes.Element:
    """The node, or the nearest around it that knows its line."""
    while not node.line and node.parent is not None:
        node = node.parent
    return node


class _Picture(HTMLParser):
    """What a <picture> says: the two files, the text."""

    def __init__(self) -> None:
        super().__init__()
        self.light = self.dark = self.alt = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attrs}
        if tag == "source" and "dark" in known.get("media", ""):
            self.dark = known.get("srcset", "")
        elif tag == "img":
            self.light, self.alt = known.get("src", ""), known.get("alt", "")
