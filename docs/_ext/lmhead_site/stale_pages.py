"""What a site of before still has and this one has not: a page that left docs/ leaves the site, with its notebook."""

from pathlib import Path
from typing import Final

from sphinx.application import Sphinx

from lmhead_site.downloads import COURSE
from lmhead_site.outside_files import files_shown

GENERATED: Final = {"genindex", "py-modindex", "search"}


def remove(app: Sphinx, exception: Exception | None) -> None:
    """`build-finished`: of HTML and notebooks, what nothing in docs/ makes any more."""
    if exception is not None or app.builder.format != "html":
        return
    pages = {*app.env.found_docs, *GENERATED, *(f"files/{name}" for name in files_shown(app.env))}
    made = {f"{page}.html" for page in pages} | {f"{page}.ipynb" for page in pages if COURSE.fullmatch(page)}
    site = Path(app.outdir)
    for file in [*site.rglob("*.html"), *site.rglob("*.ipynb")]:
        name = file.relative_to(site).as_posix()
        if name not in made and not name.startswith("_"):
            file.unlink()
