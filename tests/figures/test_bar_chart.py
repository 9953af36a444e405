"""Bars: as high as the values, on one scale, with the values written on them; what cannot be read is refused."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from lmhead import figures
from lmhead.errors import ArgumentError, ArgumentTypeError
from lmhead.figures.theme import THEMES

BLUE, COST = THEMES["light"].learnt, THEMES["light"].cost


def heights(axes):
    return [bar.get_height() for group in axes.containers for bar in group]


def on_bars(axes):
    return [text.get_text() for text in axes.texts]


def test_a_bar_is_as_high_as_its_value_and_the_value_is_written_on_it():
    (axes,) = figures.bars({"gradient": {"cat": 0.2, "dog": -0.3, "bird": 0.1}}, y="softmax - onehot").axes
    assert heights(axes) == [0.2, -0.3, 0.1]
    assert on_bars(axes) == ["0.2", "-0.3", "0.1"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["cat", "dog", "bird"]
    assert axes.get_title(loc="left") == "gradient"


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_all_panels_are_on_one_scale_that_holds_0_and_every_bar(count):
    groups = {f"panel {n}": {"a": n + 1.0, "b": -0.5} for n in range(count)}
    figure = figures.bars(groups, y="nats", x="token")
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(groups)
    (limits,) = {axes.get_ylim() for axes in figure.axes}
    assert limits[0] < -0.5 < 0 < count < limits[1]


def test_panels_with_few_bars_stand_beside_one_another_and_those_with_many_below():
    few = figures.bars({str(n): {"a": 1.0, "b": 2.0} for n in range(3)}, y="nats").axes
    many = figures.bars({str(n): {str(m): 1.0 for m in range(12)} for n in range(2)}, y="nats").axes
    assert len({axes.get_position().y0 for axes in few}) == 1
    assert len({axes.get_position().x0 for axes in many}) == 1


def test_highlighted_bars_have_the_colour_of_loss_a_hatch_and_bold_words():
    (axes,) = figures.bars({"p": {"a": 1.0, "b": 2.0}}, y="nats", highlight=["b"]).axes
    plain, lit = axes.patches
    assert (to_hex(plain.get_facecolor()), to_hex(lit.get_facecolor())) == (BLUE, COST)
    assert (plain.get_hatch(), lit.get_hatch()) == (None, "///")
    assert [text.get_weight() for text in axes.texts] == ["normal", "bold"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0.7, 0.25, 0.05], ["0.70", "0.25", "0.05"]),
        ([3, 12, 0], ["3", "12", "0"]),
        ([1 / 3, 2 / 3, 1e-5], ["0.333", "0.667", "1e-5"]),
        ([12345.6, 1, -2], ["12,346", "1", "-2"]),
        ([2e30, 1, 0], ["2e30", "1", "0"]),
        ([0, 0, 0], ["0", "0", "0"]),
        ([math.pi * 1e-9, 1e-9, 0], ["3.1e-9", "1e-9", "0"]),
    ],
)
def test_values_are_written_with_the_digits_that_they_need(values, said):
    (axes,) = figures.bars({"p": dict(zip("abc", values, strict=True))}, y="nats").axes
    assert on_bars(axes) == said


@pytest.mark.parametrize("values", [[0.123456] * 24, [-1.5] * 24, [1e-90, -1e90], [1e100, -1e100], [0]])
def test_what_is_written_on_bars_stays_in_its_panel_and_apart(values):
    figure = figures.bars({"p": {f"label {n}": value for n, value in enumerate(values)}}, y="nats")
    (axes,) = figure.axes
    figure.draw_without_rendering()
    whole = axes.get_window_extent()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert all(whole.y0 - 1 <= box.y0 and box.y1 <= whole.y1 + 8 for box in boxes)
    assert all(not left.overlaps(right) for left, right in pairwise(boxes))


def test_numbers_of_numpy_and_torch_are_numbers():
    group = {"a": np.float32(0.5), "b": torch.tensor(0.25), "c": torch.ones(1)[0], "d": np.int64(1)}
    assert heights(figures.bars({"p": group}, y="nats").axes[0]) == [0.5, 0.25, 1, 1]


def test_the_description_has_the_values_and_what_is_highlighted():
    figure = figures.bars(
        {"cold": {" Paris": 0.9, " Rome": 0.1}, "hot": {" Paris": 0.6}}, y="p", x="token", highlight={" Paris"}
    )
    assert figure.description == "Bars of p over token. cold: Paris 0.9, Rome 0.1. hot: Paris 0.6. Highlighted: Paris."


def test_what_is_given_may_change_afterwards():
    group = {"a": 1.0}
    figure = figures.bars({"p": group}, y="nats")
    group["a"] = 5.0
    assert heights(figure.in_theme("dark").axes[0]) == [1.0]


@pytest.mark.parametrize(
    ("groups", "options", "said"),
    [
        ({}, {}, "groups must be 1 to 4, to be read, got 0"),
        ({str(n): {"a": 1.0} for n in range(5)}, {}, "groups must be 1 to 4, to be read, got 5"),
        ({"p": {}}, {}, r"groups\['p'\] must have a bar, got none"),
        ({"p": {str(n): 1.0 for n in range(25)}}, {}, "groups must have at most 24 bars, to be read, got 25"),
        ({"p": {"a": math.nan}}, {}, r"groups\['p'\]\['a'\] must be finite, got nan: leave it out"),
        ({"p": {"a": -math.inf}}, {}, r"groups\['p'\]\['a'\] must be finite, got -inf"),
        ({"p": {"a": 1.0}}, {"highlight": ["b"]}, "highlight must be labels of the groups, got 'b'"),
        ({"p": {"a": 1.0}}, {"highlight": [1]}, "highlight must be labels of the groups, got 1"),
    ],
)
def test_what_cannot_be_read_is_refused(groups, options, said):
    with pytest.raises(ArgumentError, match=said):
        figures.bars(groups, y="nats", **options)


@pytest.mark.parametrize(
    ("groups", "options", "said"),
    [
        ([1.0], {}, "groups must be a Mapping, got list: the values of each panel by its title"),
        ({"p": [1.0]}, {}, r"groups\['p'\] must be a Mapping, got list: the value of each label"),
        ({"a": 1.0}, {}, r"groups\['a'\] must be a Mapping, got float"),
        ({1: {"a": 1.0}}, {}, "the titles of groups must be str, got int"),
        ({"p": {1: 1.0}}, {}, r"the labels of groups\['p'\] must be str, got int"),
        ({"p": {"a": "1"}}, {}, r"groups\['p'\]\['a'\] must be a number, got str"),
        ({"p": {"a": None}}, {}, r"groups\['p'\]\['a'\] must be a number, got NoneType"),
        ({"p": {"a": 1.0}}, {"y": 1}, "y must be a str, the words of an axis, got int"),
        ({"p": {"a": 1.0}}, {"x": None}, "x must be a str, the words of an axis, got NoneType"),
        ({"p": {"a": 1.0}}, {"highlight": "a"}, "highlight must be a list of labels, got str"),
        ({"p": {"a": 1.0}}, {"highlight": None}, "highlight must be a list of labels, got NoneType"),
    ],
)
def test_the_wrong_kind_is_named(groups, options, said):
    with pytest.raises(ArgumentTypeError, match=said):
        figures.bars(groups, **{"y": "nats", **options})


def test_a_highlight_that_could_be_no_label_is_refused_in_words():
    with pytest.raises(ArgumentError, match="highlight must be labels of the groups, got"):
        figures.bars({"g": {"a": 1.0}}, y="y", highlight=[["a"]])
