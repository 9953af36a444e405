"""A page of the course as a notebook to download: its text and the blocks that are seen, nothing else.

Links that lead into the site become their text, alerts become quotes, and what stands in `<details>` stays folded: text
in a `<details>` of its own cell, code in a cell whose source is hidden until it is asked for.
"""

import json
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import nbformat
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

from lmhead_site.page_cells import Cell, cells_of

COURSE: Final = re.compile(r"course/\d\d-[\w-]+")
EXTRAS: Final = {r"\bfigures\b": "plots", r"\b(transformers|datasets)\b": "hf"}  # by what a page's code names
_LINK: Final = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\((?![a-z]+:)[^)\s]*\)")
_ALERT: Final = re.compile(r"^> \[!(\w+)\] *$", re.MULTILINE)
_PICTURE: Final = re.compile(r'<picture>.*?alt="([^"]*)".*?</picture>', re.DOTALL)
_COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)
_FOLDED: Final = re.compile(r"^(<details>|</details>)$|^<summary>(.*)</summary>$")


def notebook_of(text: str, name: str) -> nbformat.NotebookNode:
    """The notebook of a page; `name` (its file's, without the ending) makes the ids of its cells its own.

    The same page gives the same notebook, to the byte.
    """
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["language_info"] = {"name": "python"}
    cells = cells_of(text)
    made = [nbformat.v4.new_code_cell(_needs([cell.source for cell in cells if cell.kind == "code"])), *_cells(cells)]
    for number, cell in enumerate(made):
        cell["id"] = sha256(f"{name} {number}".encode()).hexdigest()[:12]
    notebook.cells = made
    return notebook


def _needs(code: list[str]) -> str:
    """The first cell: what to install, as a comment: whoever runs it may have it, or want it otherwise."""
    extras = ",".join(extra for named, extra in EXTRAS.items() if any(re.search(named, source) for source in code))
    return f'# What this page needs:\n# %pip install "lmhead{f"[{extras}]" if extras else ""}"'


def _cells(cells: list[Cell]) -> Iterator[nbformat.NotebookNode]:
    summary: str | None = None  # of the <details> that is open
    for cell in cells:
        if cell.kind == "code":
            node = nbformat.v4.new_code_cell(cell.source)
            if summary is not None:
                node.metadata["jupyter"] = {"source_hidden": True}
                node.metadata["tags"] = ["solution"]
            yield node
        elif cell.kind == "text":
            for summary, text in _parts(cell.source, summary):  # noqa: B020 - where one cell ends, the next begins
                if text.strip():
                    yield nbformat.v4.new_markdown_cell(_folded(_plain(text).strip(), summary))


def _parts(text: str, summary: str | None) -> Iterator[tuple[str | None, str]]:
    """(summary of the <details> around it, text) in order; the last is where the text leaves off, empty or not."""
    lines: list[str] = []
    for line in text.splitlines():
        mark = _FOLDED.match(line.strip())
        if mark is None:
            lines.append(line)
            continue
        yield summary, "\n".join(lines)
        lines = []
        summary = "" if mark[1] == "<details>" else None if mark[1] else mark[2]
    yield summary, "\n".join(lines)


def _plain(text: str) -> str:
    text = _COMMENT.sub("", text)
    text = _PICTURE.sub(r"*\1*", text)
    text = _ALERT.sub(lambda match: f"> **{match[1].capitalize()}**\n>", text)
    return _LINK.sub(r"\1", text)


def _folded(text: str, summary: str | None) -> str:
    if summary is None:
        return text
    return f"<details>\n<summary>{summary}</summary>\n\n{text}\n\n</details>"


class DownloadLink(SphinxTransform):
    """Under the title of a page of the course, the link to its notebook."""

    default_priority = 230

    def apply(self, **kwargs: Any) -> None:
        if not COURSE.fullmatch(self.env.docname):
            return
        title = next(iter(self.document.findall(nodes.title)), None)
        if title is None:
            return
        file = f"{self.env.docname.rpartition('/')[2]}.ipynb"
        link = f'<p class="download"><a href="{file}" download>Download as a notebook</a></p>'
        title.parent.insert(title.parent.index(title) + 1, nodes.raw("", link, format="html"))


def write_notebooks(app: Sphinx, exception: Exception | None) -> None:
    """`build-finished`: beside each page of the course its notebook."""
    if exception is not None or app.builder.format != "html":
        return
    for docname in sorted(filter(COURSE.fullmatch, app.env.found_docs)):
        text = Path(app.env.doc2path(docname)).read_text(encoding="utf-8")
        notebook = notebook_of(text, docname.rpartition("/")[2])
        nbformat.validate(notebook)
        file = Path(app.outdir, f"{docname}.ipynb")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
