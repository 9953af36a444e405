"""Curves: the points that were given are drawn, names stand beside their lines, and what cannot be read is refused."""

import math
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch

from lmhead import figures
from lmhead.errors import ArgumentError, ArgumentTypeError
from lmhead.figures.line_chart import apart

WORDS = {"x": "step", "y": "loss, nats"}


def drawn(figure):
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in figure.axes[0].lines]


def boxes(figure):
    """Where each name stands."""
    figure.draw_without_rendering()
    return sorted((text.get_window_extent() for text in figure.texts), key=lambda box: box.y0)


def test_points_without_xs_are_counted_from_1():
    assert drawn(figures.curves({"a": [3.0, 2.0, 1.0]}, **WORDS)) == [([1, 2, 3], [3, 2, 1])]


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor, lambda row: torch.tensor(row).bfloat16()])
def test_a_line_is_a_row_or_a_pair_of_rows_of_any_kind(kind):
    xs, ys = kind([1.0, 2.0, 4.0]), kind([0.5, 0.25, 0.125])
    figure = figures.curves({"row": ys, "pair": (xs, ys), "list": [xs, ys]}, **WORDS)
    row, pair, listed = drawn(figure)
    assert row == ([1, 2, 3], [0.5, 0.25, 0.125])
    assert pair == listed == ([1, 2, 4], [0.5, 0.25, 0.125])


def test_tensors_that_require_gradients_and_lists_of_them_are_numbers_too():
    losses = torch.tensor([2.0, 1.0], requires_grad=True)
    assert drawn(figures.curves({"a": losses, "b": list(losses)}, **WORDS)) == [([1, 2], [2, 1])] * 2


def test_two_numbers_are_two_points_and_no_pair():
    assert drawn(figures.curves({"a": (3.0, 2.0)}, **WORDS)) == [([1, 2], [3, 2])]


def test_a_level_is_drawn_with_its_name_and_its_value_and_is_in_sight(words):
    figure = figures.curves({"a": [0.3, 0.2]}, **WORDS, levels={"log V": math.log(31)})
    assert "log V: 3.434" in words(figure)
    low, high = figure.axes[0].get_ylim()
    assert low < math.log(31) < high


@pytest.mark.parametrize("count", [1, 2, 6])
def test_lines_differ_without_their_colours(count):
    figure = figures.curves({f"line {n}": [n, n + 1] for n in range(count)}, **WORDS)
    lines = figure.axes[0].lines
    assert len({line.get_marker() for line in lines}) == len({str(line._dash_pattern) for line in lines}) == count


@pytest.mark.parametrize("ends", [[1.0] * 6, [1, 1.001, 1.002, 5, 5.001, 9], [0.0, 0, 0, 9, 9, 9], [1, 2, 3, 4, 5, 6]])
def test_names_do_not_touch_and_stand_in_the_order_of_the_ends(ends):
    figure = figures.curves({f"line {n}": [3.0, end] for n, end in enumerate(ends)}, **WORDS, levels={"level": 2})
    assert all(lower.y1 <= upper.y0 for lower, upper in pairwise(boxes(figure)))
    heights = [text.get_position()[1] for text in figure.texts[: len(ends)]]
    assert all(heights[a] < heights[b] for a, b in combinations(range(len(ends)), 2) if ends[a] < ends[b])


def test_names_stand_beside_the_axes_and_long_ones_over_them():
    short, long = (figures.curves({name: [1.0, 2.0]}, **WORDS) for name in ("short", "a long name " * 5))
    for figure, beside in ((short, True), (long, False)):
        (box,) = boxes(figure)
        axes = figure.axes[0].get_window_extent()
        assert (box.x0 > axes.x1) == beside
        assert (box.y0 > axes.y1) != beside
        assert box.x1 < figure.bbox.width


def test_logarithmic_axes_are_written_in_plain_numbers(words):
    lengths = [2**n for n in range(10, 18)]
    figure = figures.curves({"full": (lengths, [n / 7 for n in lengths])}, x="tokens", y="MiB", log_x=True, log_y=True)
    assert (figure.axes[0].get_xscale(), figure.axes[0].get_yscale()) == ("log", "log")
    assert {"10k", "100k"} <= set(words(figure))
    assert not any("$" in text for text in words(figure))
    assert "logarithmic in x and y" in figure.description


@pytest.mark.parametrize("line", [[1.0], [0.0, 0.0], [1e-90, 1e-90], [-1e100, 1e100], [5.0] * 3, ([7, 7], [1, 2])])
@pytest.mark.parametrize("log", [False, True])
def test_any_numbers_that_can_be_drawn_are(line, log):
    positive = all(number > 0 for number in (line[1] if isinstance(line, tuple) else line))
    figures.curves({"a": line}, **WORDS, log_y=log and positive).draw_without_rendering()


def test_the_description_has_the_ends_of_each_line():
    figure = figures.curves({"train": ([0, 200], [3.434, 0.5]), "test": [1.0]}, **WORDS, levels={"log V": 3.466})
    assert figure.description == (
        "Curves of loss, nats over step. train: from 3.434 at 0 to 0.5 at 200; test: from 1 at 1 to 1 at 1. "
        "Level: log V, 3.466."
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 10**400])
def test_what_is_not_finite_is_refused_with_the_remedy(bad):
    with pytest.raises(ArgumentError, match=r"lines\['a'\]\[1\] must be finite, got .*: leave it out"):
        figures.curves({"a": [1.0, bad]}, **WORDS)
    with pytest.raises(ArgumentError, match=r"lines\['a'\], xs\[0\] must be finite"):
        figures.curves({"a": ([bad], [1.0])}, **WORDS)
    with pytest.raises(ArgumentError, match=r"levels\['b'\] must be finite"):
        figures.curves({"a": [1.0]}, **WORDS, levels={"b": bad})


@pytest.mark.parametrize(
    ("lines", "options", "said"),
    [
        ({}, {}, "lines must be 1 to 6, to be told apart, got 0"),
        ({str(n): [1.0] for n in range(7)}, {}, "lines must be 1 to 6, to be told apart, got 7"),
        ({"a": []}, {}, r"lines\['a'\] must hold a number, got none"),
        ({"a": ([], [])}, {}, r"lines\['a'\], xs must hold a number, got none"),
        ({"a": ([1, 2], [1])}, {}, r"lines\['a'\] must have as many xs as ys, got 2 and 1"),
        ({"a": ([2, 1], [1, 2])}, {}, r"the xs of lines\['a'\] must ascend, got 1 after 2: sort the points"),
        ({"a": [1.0, 0]}, {"log_y": True}, r"lines\['a'\]\[1\] must be above 0 on a logarithmic axis, got 0"),
        ({"a": ([-1], [1])}, {"log_x": True}, "must be above 0 on a logarithmic axis, got -1"),
        ({"a": [1.0]}, {"log_y": True, "levels": {"b": 0}}, r"levels\['b'\] must be above 0"),
        ({"a": [1e-300]}, {}, "must be 0 or from 1e-100 to 1e.100 in magnitude, to be drawn, got 1e-300"),
        ({"a": [1.0]}, {"levels": {str(n): n for n in range(5)}}, "levels must be at most 4, to be told apart, got 5"),
    ],
)
def test_what_cannot_be_read_is_refused(lines, options, said):
    with pytest.raises(ArgumentError, match=said):
        figures.curves(lines, **WORDS, **options)


@pytest.mark.parametrize(
    ("lines", "options", "said"),
    [
        ([1.0], {}, "lines must be a Mapping, got list: the points of each line by its name"),
        ({"a": 1.0}, {}, r"lines\['a'\] must be a list of numbers, got float"),
        ({"a": "text"}, {}, r"lines\['a'\] must be a list of numbers, got str"),
        ({"a": None}, {}, r"lines\['a'\] must be a list of numbers, got NoneType"),
        ({"a": [1.0, None]}, {}, r"lines\['a'\]\[1\] must be a number, got NoneType"),
        ({"a": [[1.0, 2.0]]}, {}, r"lines\['a'\]\[0\] must be a number, got list"),
        ({"a": torch.zeros(2, 3)}, {}, r"lines\['a'\]\[0\] must be a number, got list"),
        ({3: [1.0]}, {}, "the names of lines must be str, got int"),
        ({"a": [1.0]}, {"levels": [1.0]}, "levels must be a Mapping, got list: the y of each level by its name"),
        ({"a": [1.0]}, {"levels": {"b": "c"}}, r"levels\['b'\] must be a number, got str"),
        ({"a": [1.0]}, {"x": None}, "x must be a str, the words of an axis, got NoneType"),
        ({"a": [1.0]}, {"y": 3}, "y must be a str, the words of an axis, got int"),
    ],
)
def test_the_wrong_kind_is_named(lines, options, said):
    with pytest.raises(ArgumentTypeError, match=said):
        figures.curves(lines, **{**WORDS, **options})


def test_names_are_moved_as_little_as_keeps_them_apart():
    assert apart([1.0, 2.0], gap=0.5, low=0, high=3) == [1.0, 2.0]
    assert apart([2.0, 2.0], gap=0.5, low=0, high=3) == [1.75, 2.25]
    assert apart([2.9, 3.0, 0.0], gap=0.5, low=0, high=3) == [2.5, 3.0, 0.0]
    assert apart([0.0, 0.0, 0.0], gap=1, low=0, high=2) == [0, 1, 2]


@pytest.mark.parametrize(
    "xs", [[1_000_000, 1_000_005, 1_000_010], [1.7e9, 1.7e9 + 5, 1.7e9 + 10], [2.3, 2.3000002, 2.3000009]]
)
def test_ticks_far_from_zero_are_told_apart(xs):
    for axis in ("x", "y"):
        line = (xs, [1.0, 2.0, 3.0]) if axis == "x" else ([1.0, 2.0, 3.0], xs)
        (axes,) = figures.curves({"a": line}, **WORDS).axes
        ticks = getattr(axes, f"{axis}axis").get_major_ticks()
        labels = [tick.label1.get_text() for tick in ticks]
        assert len(set(labels)) == len(labels) > 2


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ([3.0, 50.0, 2.9], "from 3 at 1 to 2.9 at 3, highest 50 at 2."),
        ([3.0, 0.5, 2.9], "from 3 at 1 to 2.9 at 3, lowest 0.5 at 2."),
        ([2.0, 9.0, -9.0, 3.0], "from 2 at 1 to 3 at 4, highest 9 at 2, lowest -9 at 3."),
        ([3.0, 2.0, 1.0, 1.1], "from 3 at 1 to 1.1 at 4."),  # 1 is hardly lower
        ([-0.0, 0.0, 0.0], "from 0 at 1 to 0 at 3."),
    ],
)
def test_a_description_tells_of_what_its_ends_do_not(line, told):
    assert figures.curves({"a": line}, **WORDS).description == f"Curves of loss, nats over step. a: {told}"


def test_whether_an_axis_is_logarithmic_is_a_bool():
    with pytest.raises(ArgumentTypeError, match="log_x must be a bool, got str"):
        figures.curves({"a": [1, 2]}, **WORDS, log_x="yes")
