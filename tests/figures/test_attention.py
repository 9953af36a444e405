"""The causal mask as a picture is the one that attention uses."""

import pytest
import torch

from lmhead.errors import ArgumentError, ArgumentTypeError
from lmhead.figures.attention import causal_mask
from lmhead.figures.multi_token import mtp_offsets
from lmhead.figures.theme import THEMES
from lmhead.labels.packing.attention_mask import sdpa_mask


def blue_cells(figure, T):
    """bool [T, T], from the places of the boxes; the last two boxes are the legend's."""
    (axes,) = figure.axes
    cells = axes.patches[: T * T]
    xs, ys = (sorted({round(getattr(cell, f"get_{which}")(), 6) for cell in cells}) for which in "xy")
    seen = torch.zeros(T, T, dtype=torch.bool)
    for cell in cells:
        blue = cell.get_facecolor()[2] > 0.6 and cell.get_facecolor()[0] < 0.1
        seen[ys.index(round(cell.get_y(), 6)), xs.index(round(cell.get_x(), 6))] = blue
    return seen


@pytest.mark.parametrize("T", [1, 5, 20, 32])
def test_it_is_a_triangle(T):
    assert torch.equal(blue_cells(causal_mask(["x"] * T), T), torch.ones(T, T).tril() > 0)


def test_documents_of_a_row_have_a_triangle_each():
    document = [0, 0, 1, 1, 1, -1]
    expected = sdpa_mask(torch.tensor([document]))[0, 0]
    figure = causal_mask(list("abcdef"), document=document)
    assert torch.equal(blue_cells(figure, 6), expected)


def test_the_legend_speaks_of_documents_where_there_are_some(words):
    assert "hidden: it comes later" in words(causal_mask(["a"]))
    assert "hidden: it comes later, or is of another document" in words(causal_mask(["a"], document=[0]))


def test_the_upper_left_cell_is_of_the_first_token():
    axes = causal_mask(["first", "second"]).axes[0]
    assert axes.yaxis_inverted()
    assert axes.patches[0].get_facecolor()[:3] == pytest.approx(
        tuple(int(THEMES["light"].learnt[i : i + 2], 16) / 255 for i in (1, 3, 5))
    )


def test_a_document_for_each_token():
    with pytest.raises(ArgumentError, match="document must have as many entries as there are tokens, 2, got 3"):
        causal_mask(["a", "b"], document=[0, 0, 0])


@pytest.mark.parametrize("document", [5, "ab", [0.5, 1.0]])
def test_documents_that_are_no_whole_numbers_are_refused(document):
    for figure in (causal_mask, mtp_offsets):
        with pytest.raises(ArgumentTypeError, match="document must be a"):
            figure(["a", "b"], document=document)
