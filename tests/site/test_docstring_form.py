"""Docstrings become reStructuredText that says the same."""

import sys

import pytest
from tests.site.public_callables import ROOT

pytest.importorskip("sphinx")
sys.path.append(str(ROOT / "docs" / "_ext"))

from lmhead_reference.docstring_form import as_rest, prose


def rest(docstring: str, **comments: str) -> str:
    return "\n".join(as_rest(docstring.splitlines(), comments, list(comments)))


def test_code_stands_in_double_backticks_and_prose_is_itself():
    assert prose("`a_b` times *b*, c_ | d") == r"``a_b`` times \*b\*, c\_ \| d"
    assert prose("Lists of `Tensor`s") == r"Lists of ``Tensor``\ s"


@pytest.mark.parametrize("shape", ["[..., D]", "[R, T]", "[1 + K]", "[V]", "[...]", "[B, 1, T, T]"])
def test_shapes_are_code(shape):
    assert prose(f"Logits {shape} of it") == f"Logits ``{shape}`` of it"


def test_what_is_no_shape_is_prose():
    assert prose("the tokens [sic] of hidden[t]") == "the tokens [sic] of hidden[t]"


def test_code_over_two_lines_is_code():
    assert prose("as `hidden @\nweight.T` is") == "as ``hidden @\nweight.T`` is"


def test_an_indented_block_is_code_in_one_piece():
    made = rest("Equal to\n\n    a = 1\n\n    b = a  # *\n\nand no more.")
    assert ".. code-block:: python\n\n   a = 1\n   \n   b = a  # *\n" in made
    assert made.rstrip().endswith("and no more.")


def test_a_block_that_is_no_python_is_text():
    assert ".. code-block:: text" in rest("So:\n\n    kl(p || q) = ..\n")


def test_sections_become_fields_and_each_name_gets_its_own():
    made = rest("It.\n\nArgs:\n    a, b: two\n        lines.\n\nRaises:\n    ArgumentError: no.\n\nSource: a paper.")
    assert ":param a: two\n    lines.\n:param b: two\n    lines.\n:raises ArgumentError: no." in made
    assert made.endswith("Source: a paper.")


def test_the_comment_beside_a_parameter_comes_first():
    made = rest("It.\n\nArgs:\n    bias: of the head.\n", hidden="[..., D]", bias="[V]")
    assert ":param hidden: ``[..., D]``.\n:param bias: ``[V]``; of the head." in made


def test_examples_stay_as_they_are():
    assert ".. rubric:: Example\n\n>>> a * b\n2\n" in rest("It.\n\nExample:\n    >>> a * b\n    2\n")
