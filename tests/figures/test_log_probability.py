"""-log p: what is written beside a mark is what the op computes, and the marks lie on the curve."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.text import Text

from lmhead.errors import ArgumentError, ArgumentTypeError
from lmhead.figures.log_probability import nll_curve
from lmhead.losses.cross_entropy import cross_entropy


@pytest.mark.parametrize("probability", [1.0, 0.7, 0.3, 0.15, 0.1, 1e-4, 1e-30])
def test_a_mark_tells_the_loss_of_the_op(probability, words):
    logits = torch.tensor([[probability, 1 - probability]], dtype=torch.float64).log()
    nll = cross_entropy(logits, torch.tensor([0])).item()
    assert f"it: p = {probability:g} costs {nll:.4f}" in words(nll_curve({"it": probability}))


def test_the_curve_is_minus_log_p_and_the_marks_lie_on_it():
    curve, *marks = nll_curve({"a": 0.3, "b": 0.15}).axes[0].lines
    assert curve.get_xdata()[-1] == 1
    np.testing.assert_allclose(curve.get_ydata(), -np.log(curve.get_xdata()))
    points = [(mark.get_xdata()[0], mark.get_ydata()[0]) for mark in marks]
    np.testing.assert_allclose(points, [(0.3, 1.2039728), (0.15, 1.8971200)])


def test_words_of_close_marks_do_not_touch():
    figure = nll_curve({f"mark {n}": 0.5 - n / 100 for n in range(8)})
    figure.draw_without_rendering()
    boxes = sorted((Text.get_window_extent(text) for text in figure.axes[0].texts), key=lambda box: box.y0)
    assert all(lower.y1 <= upper.y0 for lower, upper in pairwise(boxes))


def test_a_curve_needs_no_marks():
    assert len(nll_curve({}).axes[0].texts) == 0


@pytest.mark.parametrize("probability", [0, -0.1, 1.1, float("nan")])
def test_what_is_no_probability_is_refused(probability):
    with pytest.raises(ArgumentError, match=r"marks\['it'\] must be a probability in \(0, 1\], got"):
        nll_curve({"it": probability})


def test_marks_have_names():
    with pytest.raises(ArgumentTypeError, match="marks must be a Mapping, got list: the probability of each token"):
        nll_curve([0.3])


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        ({"a": "0.5"}, r"marks\['a'\] must be a number, got str"),
        ({3: 0.5}, "the names of marks must be a str, got int"),
    ],
)
def test_what_are_no_marks_is_refused_in_words(marks, message):
    with pytest.raises(ArgumentTypeError, match=message):
        nll_curve(marks)
