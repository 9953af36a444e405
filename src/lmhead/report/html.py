"""One self-contained HTML file: styles, scripts and data inline, and a Content-Security-Policy that forbids the rest.

Scripts and styles run by their hash alone; data stand in blocks of JSON, which no browser runs, with every character
escaped by which a block could end. So whatever text is in the data, it stays text.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any, Final

_HALF_A_PAIR: Final = re.compile("[\ud800-\udfff]")
_ESCAPED: Final = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def html_page(
    *,
    title: str,
    body: str,
    styles: Sequence[str],
    scripts: Sequence[str],
    data: Mapping[str, Any],
) -> str:
    """A whole page.

    Args:
        title: text, escaped here.
        body: HTML; whatever of it comes from data has been escaped.
        styles, scripts: names of assets, in their order.
        data: what `JSON.parse(document.getElementById("data-NAME").textContent)` gives, by name; no NaN.
    """
    css = [asset(name) for name in styles]
    js = [asset(name) for name in scripts]
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src {' '.join(map(_source, css)) or _NONE}",
            f"script-src {' '.join(map(_source, js)) or _NONE}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    blocks = "\n".join(
        f'<script type="application/json" id="data-{escape(name)}">{json_block(value)}</script>'
        for name, value in data.items()
    )
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{html_text(title)}</title>",
            *(f"<style>{text}</style>" for text in css),
            "</head>",
            "<body>",
            body,
            blocks,
            *(f"<script>{text}</script>" for text in js),
            "</body>",
            "</html>\n",
        )
    )


def html_text(text: str) -> str:
    """`text` for an element or an attribute; half a surrogate pair, which no file can hold, is U+FFFD."""
    return escape(_HALF_A_PAIR.sub("\ufffd", text))


def page_foot(made_by: str) -> str:
    """The foot of a page, as HTML."""
    made = f"Made by {html_text(made_by)}. This file asks nothing of any network."
    return f'<footer class="page-foot">{made}</footer>'


def json_block(value: Any) -> str:
    """JSON in ASCII that can stand inside a script element: no <, > or & is in it."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).translate(_ESCAPED)


@cache
def asset(name: str) -> str:
    """The text of a file in report/assets."""
    text = files("lmhead.report").joinpath("assets", *name.split("/")).read_text(encoding="utf-8")
    assert "</" + ("script" if name.endswith(".js") else "style") not in text, name
    return text


_NONE: Final = "'none'"


def _source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
