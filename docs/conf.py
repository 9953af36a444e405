"""The site's settings; what is done to pages is in _ext/lmhead_site.

`make docs` builds it into build/docs/html. `make docs PAGES='docs/course/0*'` runs only those pages (patterns with
commas between them) and shows the others without what they print; links and names are checked in all.
"""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_ext"))
sys.path.insert(0, str(DOCS.parent / "src"))

from lmhead.figures.theme import THEMES  # noqa: E402
from lmhead.version import __version__  # noqa: E402

project = "lmhead"
author = "The lmhead developers"
copyright = author
version = release = __version__
language = "en"
extensions = ["sphinx.ext.autodoc", "lmhead_reference", "myst_nb", "lmhead_site"]
exclude_patterns = ["README.md", "_ext", "images"]
nitpicky = True
default_role = "py:obj"

site_library = str(DOCS.parent / "src" / "lmhead")
site_cache = str(DOCS.parent / "build" / "docs" / "cache")

myst_enable_extensions = ["alert", "colon_fence", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # lmhead_site.execution runs pages and keeps what they print
nb_output_stderr = "remove"  # lmhead_site tells of it, with what was written
nb_merge_streams = True

autodoc_default_options = {
    "members": True,
    "special-members": "__call__",
    "undoc-members": True,  # fields whose name and type say all
    "inherited-members": "Module,object,Exception,Sequence,Iterator,IntEnum,str",  # of our own bases, not of these
    "member-order": "bysource",
}
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_use_legacy_class_based = False
maximum_signature_line_length = 80
python_display_short_literal_types = True
python_use_unqualified_type_names = True
smartquotes_action = "D"  # what stands between a parameter and what it is; quotes and dots stay as they are in code
toc_object_entries_show_parents = "hide"
nitpick_ignore_regex = [  # others' types; each of ours is on a page of reference/
    (
        "py:.*",
        r"(collections|datasets|datetime|enum|matplotlib|numpy|np|os|pathlib|tokenizers|torch|transformers|typing)\..*",
    ),
    ("py:class", "BlockMask|Dataset|Figure|PeftModel|PreTrainedModel|ProcessGroup|Tokenizer"),
]

html_theme = "furo"
html_title = "lmhead"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["site.css", "reference.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_search_scorer = str(DOCS / "_ext" / "lmhead_site" / "search_order.js")
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False  # it would fetch pages, which a browser refuses where the site is a folder of files
html_show_copyright = False
html_show_sphinx = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"


def _colours(theme: str) -> dict[str, str]:
    """The colours of lmhead.figures for furo."""
    known = THEMES[theme]
    return {
        "color-brand-primary": known.learnt,
        "color-brand-content": known.learnt,
        "color-brand-visited": known.learnt,
        "color-background-primary": known.background,
        "color-background-secondary": known.plain,
        "color-background-border": known.line,
        "color-foreground-primary": known.ink,
        "color-foreground-secondary": known.muted,
        "color-foreground-muted": known.muted,
        "color-foreground-border": known.line,
        "color-api-background": known.plain,
        "color-api-background-hover": known.plain,
        "color-api-name": known.ink,
        "color-api-pre-name": known.muted,
        "color-api-paren": known.muted,
        "color-api-keyword": known.muted,
    }


html_theme_options = {
    "light_css_variables": _colours("light"),
    "dark_css_variables": _colours("dark"),
    "navigation_with_keys": False,
}
