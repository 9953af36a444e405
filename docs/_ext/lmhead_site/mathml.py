"""Formulae as MathML, which browsers draw by themselves: no script, no font, no network."""

import html
import re
from itertools import pairwise
from typing import Any, Final
from xml.etree import ElementTree

from docutils import nodes
from latex2mathml.converter import convert_to_element
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
_SCRIPTED: Final = ("msub", "msup", "msubsup", "munder", "munderover")
_PARTS: Final = {"mfrac": 2, "mroot": 2, "mover": 2, "msub": 2, "msup": 2, "munder": 2, "msubsup": 3, "munderover": 3}
_THIN: Final = "0.1667em"


def visit_math(translator: Any, node: nodes.math) -> None:
    """A formula in a line."""
    translator.body.append(drawn(node, display="inline"))
    raise nodes.SkipNode


def visit_displayed_math(translator: Any, node: nodes.math_block) -> None:
    """A formula of its own, which scrolls where the window is narrow."""
    translator.body.append(f'<div class="formula">{drawn(node, display="block")}</div>\n')
    raise nodes.SkipNode


def drawn(node: nodes.Element, *, display: str) -> str:
    """The formula of a node as MathML, "" where it cannot be drawn, which is told."""
    latex = node.astext().strip()
    try:
        formula = convert_to_element(latex, display=display)
    except Exception as error:  # noqa: BLE001 (latex2mathml raises what it comes upon; the warning fails the build)
        LOGGER.warning("the formula %s cannot be drawn: %r", latex, error, location=node, type="lmhead")
        return ""
    unknown = [each.text for each in formula.iter() if re.fullmatch(r"\\[a-zA-Z]+|&", each.text or "")]
    if unknown:
        LOGGER.warning("the formula %s has %s, which is not known", latex, unknown[0], location=node, type="lmhead")
    elif any(len(each) != _PARTS.get(each.tag, len(each)) for each in formula.iter()):
        LOGGER.warning("the formula %s lacks a part", latex, location=node, type="lmhead")
    for row in list(formula.iter()):
        row.text = html.unescape(row.text or "")
        if row.tag not in _PARTS:
            _set_functions_apart(row)
    return ElementTree.tostring(formula, encoding="unicode", short_empty_elements=False)


def _set_functions_apart(row: ElementTree.Element) -> None:
    """A thin space on both sides of log, exp and their like, as TeX has it; none beside a sign or a bracket."""
    children = list(row)
    for before, after in reversed(list(pairwise(children))):
        if (_is_function(before) or _is_function(after)) and before.tag != "mo" and after.tag != "mo":
            row.insert(list(row).index(after), ElementTree.Element("mspace", width=_THIN))


def _is_function(element: ElementTree.Element) -> bool:
    if element.tag in _SCRIPTED and len(element):
        return _is_function(element[0])
    return element.tag == "mi" and re.fullmatch(r"[a-z]{2,}", element.text or "") is not None
