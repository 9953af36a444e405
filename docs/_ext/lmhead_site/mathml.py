"""Formulae as MathML, which browsers draw by themselves: no script, no font, no network."""

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)


def visit_math(translator: Any, node: nodes.math) -> None:
    """A formula in a line."""
    translator.body.append(_drawn(node, display="inline"))
    raise nodes.SkipNode


def visit_displayed_math(translator: Any, node: nodes.math_block) -> None:
    """A formula of its own, which scrolls where the window is narrow."""
    translator.body.append(
        f'<div class="formula" tabindex="0" role="group" aria-label="formula">{_drawn(node, display="block")}</div>\n'
    )
    raise nodes.SkipNode


def _drawn(node: nodes.Element, *, display: str) -> str:
    latex = node.astext().strip()
    try:
        drawn: str = convert(latex, display=display)
    except Exception as error:  # noqa: BLE001  (latex2mathml raises what it comes upon; the warning fails the build)
        LOGGER.warning("the formula %s cannot be drawn: %r", latex, error, location=node, type="lmhead")
        return ""
    unknown = re.search(r"<m[io]>(\\[a-zA-Z]+)</m[io]>", drawn)
    if unknown:
        LOGGER.warning("the formula %s has %s, which is not known", latex, unknown[1], location=node, type="lmhead")
    return drawn
