"""Links out of docs/: to Markdown that the site shows as a page, or to a file, shown as it is.

A page whose first line is `<!-- shown: ../../CHANGELOG.md -->` has that file's text on the site; links to the file lead
to the page. Any other file of the repository that a page links to is a page of its own, highlighted.
"""

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

from lmhead_site.page_cells import FENCE, PageError, cells_of

LOGGER = logging.getLogger(__name__)
SHOWN: Final = re.compile(r"<!-- shown: (\S+) -->")
LINK: Final = re.compile(r'(?<=\]\()[^)\s]+(?=\))|(?<=src=")[^"]+(?=")|(?<=srcset=")[^"]+(?=")')
ANCHOR: Final = re.compile(r'^<a id="([\w-]+)"></a>$')  # MyST spells it (so)=
KEY: Final = "lmhead_files"  # in a page's metadata: the files it links to
LEXERS: Final = {".py": "python", ".json": "json", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".sh": "bash"}


def show_file(app: Sphinx, docname: str, source: list[str]) -> None:
    """`source-read`: the text of the file that the page shows."""
    page = Path(app.env.doc2path(docname))
    shown = shown_by(page)
    if shown is not None:
        app.env.note_dependency(str(shown))
    source[0] = page_text(page, Path(app.srcdir))
    try:
        cells_of(source[0])
    except PageError as error:
        LOGGER.warning("%s", error, location=(docname, error.line), type="lmhead", subtype="page")
        source[0] = f"# {docname}\n"


def page_text(page: Path, docs: Path) -> str:
    """The Markdown of a page, or of the file it shows with the page's own directives; its links lead on from here.

    Raises:
        PageError: the page is not UTF-8.
    """
    text = _decoded(page)
    shown = shown_by(page)
    if shown is not None:
        added = re.findall(r"^:::.*?^:::$", text, re.MULTILINE | re.DOTALL)
        text = "\n\n".join([_decoded(shown), *added])
    return with_links_from(text, shown or page, page, pages_of_files(docs))


def _decoded(file: Path) -> str:
    written = file.read_bytes()
    try:
        return written.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = written.count(b"\n", 0, error.start) + 1
        what = f"{file.name} is not UTF-8 (the byte 0x{written[error.start]:02x}): save it as UTF-8"
        raise PageError(line, what) from error


def shown_by(page: Path) -> Path | None:
    """The file that a page shows, if it is such a page."""
    with page.open(encoding="utf-8", errors="replace") as lines:
        shown = SHOWN.match(lines.readline())
    return None if shown is None else (page.parent / shown[1]).resolve()


@cache
def pages_of_files(docs: Path) -> dict[Path, Path]:
    """By a file that a page shows: the page."""
    return {shown: page for page in docs.rglob("*.md") if (shown := shown_by(page)) is not None}


def with_links_from(text: str, written_in: Path, page: Path, pages: dict[Path, Path]) -> str:
    """The text of `written_in` with its relative links as `page` has to write them."""

    def moved(match: re.Match[str]) -> str:
        path, hash_mark, anchor = match[0].partition("#")
        if not path or re.match(r"[a-z]+:|/", path):
            return match[0]
        target = (written_in.parent / path).resolve()
        if target.is_dir() and (target / "README.md").exists():
            target = target / "README.md"
        target = pages.get(target, target)
        if target == page and anchor:
            return f"#{anchor}"
        return os.path.relpath(target, page.parent) + hash_mark + anchor

    return "\n".join(line if in_code else LINK.sub(moved, ANCHOR.sub(r"(\1)=", line)) for line, in_code in _lines(text))


def _lines(text: str) -> Iterator[tuple[str, bool]]:
    """(line, whether it is of a block of code)."""
    closing = None
    for line in text.splitlines():
        fence = FENCE.match(line)
        if closing is None and fence is not None:
            closing = fence["fence"]
            yield line, True
        elif closing is not None:
            if line.strip() == closing:
                closing = None
            yield line, True
        else:
            yield line, False


class FileLinks(SphinxTransform):
    """What MyST would offer for download leads to a page that shows the file."""

    default_priority = 220

    def apply(self, **kwargs: Any) -> None:
        page = Path(self.env.doc2path(self.env.docname))
        for link in list(self.document.findall(addnodes.download_reference)):
            file = (page.parent / link["reftarget"]).resolve()
            name = file.relative_to(Path(self.env.srcdir).parent).as_posix()
            self.env.metadata[self.env.docname].setdefault(KEY, set()).add(name)
            uri = self.app.builder.get_relative_uri(self.env.docname, f"files/{name}")
            link.replace_self(nodes.reference("", "", *link.children, refuri=uri, internal=True))


def files_shown(env: BuildEnvironment) -> list[str]:
    """The files that pages link to, by their paths in the repository."""
    return sorted({name for known in env.metadata.values() for name in known.get(KEY, ())})


def file_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """`html-collect-pages`: a page for each file that is linked to."""
    for name in files_shown(app.env):
        file = Path(app.srcdir).parent / name
        code = file.read_text(encoding="utf-8")
        block = app.builder.highlighter.highlight_block(code, LEXERS.get(file.suffix, "text"), force=True)  # type: ignore[attr-defined]
        yield f"files/{name}", {"title": name, "body": f"<h1>{name}</h1>\n{block}"}, "page.html"
