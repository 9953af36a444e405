"""Bars of the loss: their heights, their words, and what is not scored."""

from itertools import pairwise

import pytest
import torch

from lmhead.errors import ArgumentError, ArgumentTypeError
from lmhead.figures.loss_bars import token_losses
from lmhead.figures.theme import THEMES

GOOD = [("France", None), ("?", None), (" Paris", 0.3567), (".", 0.0)]
BAD = [("France", None), ("?", None), (" Rome", 2.3026), (".", 0.0)]
COST = THEMES["light"].cost


def test_s1_a_good_and_a_bad_answer_on_one_scale(words, filled):
    figure = token_losses({"good": GOOD, "bad": BAD})
    good, bad = figure.axes
    assert good.get_ylim() == bad.get_ylim()
    assert good.get_title(loc="left") == "good: 0.18 nats over 2 scored tokens"
    assert bad.get_title(loc="left") == "bad: 1.15 nats over 2 scored tokens"
    assert {"0.36", "p 0.7", "2.30", "p 0.1", "0.00", "p 1"} <= set(words(figure))
    assert filled(figure, COST) == 4


def test_a_bar_is_as_high_as_the_loss():
    (axes,) = token_losses({"it": [("a", 0.5), ("b", None), ("c", 7.25)]}).axes
    assert [(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in axes.containers for bar in bar] == [
        (pytest.approx(0), 0.5),
        (pytest.approx(2), 7.25),
    ]


def test_runs_of_tokens_that_are_not_scored_are_covered_once(words):
    losses = [("a", None), ("b", None), ("c", 1.0), ("d", None)]
    said = words(token_losses({"it": losses}))
    assert said.count("not scored") == 1
    assert said.count("not\nscored") == 1


def test_an_answer_without_a_scored_token_says_so():
    (axes,) = token_losses({"it": [("a", None)]}).axes
    assert axes.get_title(loc="left") == "it: no token is scored"


@pytest.mark.parametrize(
    "tokens",
    [
        ["<|im_start|>", "assistant", "\n", "Paris", "<|im_end|>", "<|im_start|>", "user"],
        ["a"] * 24,
        ["a token without an end " * 4, "b"],
        ["What", " is", " it", "?"],
    ],
)
@pytest.mark.parametrize("panels", [1, 3])
def test_tokens_under_the_bars_do_not_touch_and_stay_in_the_figure(tokens, panels):
    figure = token_losses({str(n): [(token, 1.0) for token in tokens] for n in range(panels)})
    figure.draw_without_rendering()
    for axes in figure.axes:
        boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
        assert all(left.x1 <= right.x0 for left, right in pairwise(boxes))
        assert min(box.y0 for box in boxes) >= 0
    titles = [axes._left_title.get_window_extent() for axes in figure.axes]
    for above, title in zip(figure.axes, titles[1:], strict=False):
        assert title.y1 <= min(label.get_window_extent().y0 for label in above.get_xticklabels())


@pytest.mark.parametrize("nll", [-0.1, float("nan"), float("inf")])
def test_a_loss_is_a_number_from_zero_up(nll):
    with pytest.raises(ArgumentError, match="the loss of 'x' in 'it' must be a number of nats from 0 up, got"):
        token_losses({"it": [("x", nll)]})


def test_wrong_answers_are_refused():
    with pytest.raises(ArgumentTypeError, match="answers must be a Mapping, got list"):
        token_losses([("x", 1.0)])
    with pytest.raises(ArgumentError, match="answers must be one to four, got 0"):
        token_losses({})
    with pytest.raises(
        ArgumentError, match="the tokens of 'it' must be 1 to 24, to be read at the width of a page, got 0"
    ):
        token_losses({"it": []})


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({1: [("a", 1.0)]}, "the titles of answers must be a str, got int"),
        ({"a": None}, "must be a list of pairs"),
        ({"a": ["xy"]}, "must be a list of pairs"),
        ({"a": [("x",)]}, "must be a list of pairs"),
        ({"a": (pair for pair in [("x", 1.0)])}, "must be a list of pairs .* got generator"),
        ({"a": [("x", "1")]}, "the loss of 'x' in 'a' must be a number, got str"),
    ],
)
def test_what_are_no_tokens_with_losses_is_refused_in_words(answers, message):
    with pytest.raises(ArgumentTypeError, match=message):
        token_losses(answers)


def test_losses_may_be_tensors_of_one_number():
    losses = torch.tensor([0.5, 1.5], requires_grad=True)
    figure = token_losses({"a": list(zip(["x", "y"], losses, strict=True))})
    assert figure.description.endswith("a: 1.00 nats over 2 scored tokens, the most for y, 1.50.")
