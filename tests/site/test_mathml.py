"""Formulas as MathML: signs, spaces beside functions, and what cannot be drawn is told."""

import pytest

pytest.importorskip("latex2mathml", reason="the site needs latex2mathml: pip install 'lmhead[docs]'")

from xml.etree import ElementTree

from docutils import nodes

from lmhead_site import mathml

SPACE = '<mspace width="0.1667em"></mspace>'


def drawn(latex, display="inline"):
    return mathml.drawn(nodes.math(latex, latex), display=display)


def test_a_formula_is_mathml_that_a_browser_reads():
    root = ElementTree.fromstring(drawn(r"-\sum_{t<T} \log p_\theta(x_t \mid x_{<t})", "block"))
    assert root.tag == "{http://www.w3.org/1998/Math/MathML}math"
    assert root.get("display") == "block"
    assert (
        "".join(root.itertext())
        == "\N{MINUS SIGN}\N{N-ARY SUMMATION}t<Tlogp\N{GREEK SMALL LETTER THETA}(xt\N{DIVIDES}x<t)"
    )


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        (r"\log p", f"<mi>log</mi>{SPACE}<mi>p</mi>"),
        (r"2\log p", f"<mn>2</mn>{SPACE}<mi>log</mi>{SPACE}<mi>p</mi>"),
        (r"\log_2 p", f"<msub><mi>log</mi><mn>2</mn></msub>{SPACE}<mi>p</mi>"),
    ],
)
def test_functions_stand_apart(latex, expected):
    assert expected in drawn(latex)


@pytest.mark.parametrize("latex", [r"\log(p)", r"-\log", r"x y"])
def test_nothing_else_does(latex):
    assert "mspace" not in drawn(latex)


@pytest.mark.parametrize("latex", [r"\nosuch x", r"\begin{aligned} a &= b \end{aligned}", r"\frac{1}"])
def test_what_is_not_drawn_as_it_is_meant_is_told(latex, monkeypatch):
    told = []
    monkeypatch.setattr(mathml.LOGGER, "warning", lambda message, *values, **_: told.append(message % values))
    drawn(latex)
    assert len(told) == 1
    assert latex in told[0]
