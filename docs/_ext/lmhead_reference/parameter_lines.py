"""A signature of one parameter a line, as lines: Sphinx writes a list of definitions without a term (axe-core)."""

import re
from typing import Any

from sphinx.application import Sphinx

_SIGNATURE = re.compile(r'(<dt class="sig[^>]*>)(.*?)(</dt>)', re.DOTALL)
_INSTEAD = (
    ("<dl>", '<span class="sig-parameters">'),
    ("</dl>", "</span>"),
    ("<dd>", '<span class="sig-line">'),
    ("</dd>", "</span>"),
)


def connect(app: Sphinx) -> None:
    """Have each page changed before it is written; reference.css indents the lines."""
    app.connect("html-page-context", _changed)


def _changed(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    if "body" in context:
        context["body"] = as_lines(context["body"])


def as_lines(body: str) -> str:
    """The page with its signatures as lines."""
    return _SIGNATURE.sub(lambda found: found[1] + _replaced(found[2]) + found[3], body)


def _replaced(signature: str) -> str:
    for old, new in _INSTEAD:
        signature = signature.replace(old, new)
    return signature
