"""The extension of lmhead's site: pages that GitHub renders as they are, executed and drawn by Sphinx and MyST-NB.

page_cells    a page -> text, code, hidden code
execution     code -> outputs, in kernels, kept by content
reader        both -> the notebook that MyST-NB renders
navigation    the rooms at the side of every page
themed_images, mathml, public_names, outside_files, page_head    what MyST and furo leave to us
downloads     pages of the course -> notebooks that people take away
stale_pages   what left docs/ leaves the site
"""

from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.errors import SphinxError
from sphinx.util import logging

from lmhead_site import (
    downloads,
    mathml,
    navigation,
    outside_files,
    page_head,
    public_names,
    stale_pages,
    themed_images,
)
from lmhead_site.execution import SECONDS, cache_folder, run_pages, stored_outputs
from lmhead_site.page_cells import PageError, cells_of

LOGGER = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx's entry."""
    app.add_config_value("site_execute", "*", "env", [str])  # which pages run, as patterns: docs/course/0*,README.md
    app.add_config_value("site_cache", None, "", [str])  # the folder of outputs
    app.add_config_value("site_library", None, "", [str])  # the library's source, on which outputs depend
    app.add_config_value("site_seconds", SECONDS, "", [int])  # at most, for one block
    app.add_config_value("site_outputs", "", "env", [str])  # made here: the folder for the library as it is
    app.connect("config-inited", _find_outputs, priority=100)
    app.connect("source-read", outside_files.show_file)
    app.connect("source-read", _tell_stderr)
    app.connect("env-before-read-docs", _run_pages)
    app.connect("env-check-consistency", navigation.tell_same_titles)
    app.connect("html-collect-pages", outside_files.file_pages)
    app.connect("html-page-context", navigation.give_tree, priority=400)
    app.connect("html-page-context", page_head.describe, priority=900)
    app.connect("build-finished", downloads.write_notebooks)
    app.connect("build-finished", stale_pages.remove)
    app.connect("missing-reference", public_names.unresolved)
    app.add_transform(themed_images.ThemedImages)
    app.add_transform(public_names.PublicNames)
    app.add_transform(outside_files.FileLinks)
    app.add_transform(downloads.DownloadLink)
    app.add_html_math_renderer("mathml", (mathml.visit_math, None), (mathml.visit_displayed_math, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _find_outputs(app: Sphinx, config: Config) -> None:
    config.site_outputs = str(cache_folder(Path(config.site_cache), Path(config.site_library)))
    config.nb_custom_formats = {".md": ["lmhead_site.reader.read_page", {"folder": config.site_outputs}, False]}


def _run_pages(app: Sphinx, env: BuildEnvironment, docnames: list[str]) -> None:
    """`env-before-read-docs`: those that are to be read and have not run as they are."""
    wanted = [pattern.strip() for pattern in app.config.site_execute.split(",")]
    pages = {}
    for docname in docnames:
        file = Path(env.doc2path(docname))
        name = file.relative_to(Path(app.srcdir).parent).as_posix()
        text = _text_or_stop(file, name, Path(app.srcdir))
        if not any(fnmatch(name, pattern) for pattern in wanted):
            continue
        with suppress(PageError):  # told when it is read
            pages[docname] = cells_of(text)
    failures = run_pages(
        pages,
        Path(app.config.site_outputs),
        library=Path(app.config.site_library),
        seconds=app.config.site_seconds,
        processes=max(app.parallel, 1),
        told=lambda page: LOGGER.info("ran page %s", page),
    )
    for docname, failure in failures.items():
        cell = [cell for cell in pages[docname] if cell.kind != "text"][failure.cell]
        place = (docname, cell.line + failure.line)
        LOGGER.warning("%s", failure.message, location=place, type="lmhead", subtype="execution")


def _tell_stderr(app: Sphinx, docname: str, source: list[str]) -> None:
    """`source-read`: a page is silent; what a block that is seen writes to stderr fails the build."""
    with suppress(PageError):
        cells = cells_of(source[0])
        outputs = iter(stored_outputs(cells, Path(app.config.site_outputs)) or [])
        for cell in cells:
            of_cell = next(outputs, []) if cell.kind != "text" else []
            said = "".join(each["text"] for each in of_cell if each.get("name") == "stderr").strip()
            if said and cell.kind == "code":
                text = f"a page is silent, and this block wrote to stderr; mend what it tells of: {said[:400]}"
                LOGGER.warning("%s", text, location=(docname, cell.line + 1), type="lmhead", subtype="stderr")


def _text_or_stop(file: Path, name: str, docs: Path) -> str:
    """The page's text; where it cannot be decoded, the build ends, as Sphinx would end it without naming the page."""
    try:
        return outside_files.page_text(file, docs)
    except PageError as error:
        raise UnreadablePageError(f"{name}:{error.line}: {error}") from error


class UnreadablePageError(SphinxError):
    """A page that is not UTF-8."""

    category = "Page that cannot be read"
