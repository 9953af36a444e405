"""The shift as a picture: pairs of context and next token, and the target under each position."""

import numpy as np
import pytest
import torch

from lmhead.errors import ArgumentError, ArgumentTypeError
from lmhead.figures.shift import next_token_pairs, shifted_targets
from lmhead.figures.theme import THEMES
from lmhead.labels.targets import Reason, Targets

WORDS, IDS = ["The", " capital", " is", " Paris"], [464, 3139, 318, 6342]
BLUE = THEMES["light"].learnt


def test_s1_four_words_are_three_pairs_of_a_context_and_its_next_word(words, filled):
    figure = next_token_pairs(WORDS)
    said = words(figure)
    _, _, *boxes = [text for text in said if text]
    assert boxes == ["The", "·capital", "The", "·capital", "·is", "The", "·capital", "·is", "·Paris"]
    assert filled(figure, BLUE) == 3


def test_s1_the_shift_on_real_ids(words, filled):
    figure = shifted_targets(WORDS, ids=IDS)
    said = words(figure)
    assert [text for text in said if text.isdigit() and int(text) > 99] == [
        *("464", "3139", "318", "6342"),  # the inputs
        *("3139", "318", "6342"),  # what is predicted from them
    ]
    assert "end of row" in said
    assert "3 of 4 positions are scored; from t, the token at t + 1 is predicted" in said
    assert filled(figure, BLUE) == 3


def test_reasons_stand_where_nothing_is_scored(words, filled):
    reason = torch.tensor([Reason.USER, Reason.USER, Reason.SCORED, Reason.SCORED, Reason.SCORED], dtype=torch.uint8)
    targets = Targets.from_labels(torch.arange(5), document=torch.tensor([0, 0, 0, 1, 1]), reason=reason)
    figure = shifted_targets(list("abcde"), targets=targets)
    said = words(figure)
    assert [text for text in said if text in ("user", "document boundary", "end of row")] == [
        "user",
        "document boundary",
        "end of row",
    ]
    assert filled(figure, BLUE) == targets.count == 2


def test_a_target_is_written_under_the_position_that_predicts_it():
    axes = shifted_targets(WORDS).axes[0]
    at = {(text.get_text(), round(text.get_position()[1], 2)): text.get_position()[0] for text in axes.texts}
    ys = {y for text, y in at if text == "·is"}
    above, below = min(ys), max(ys)
    assert at["·is", below] == at["·capital", above]  # "is" is predicted where "capital" is read


def test_there_is_no_pair_of_one_token():
    with pytest.raises(ArgumentError, match="tokens must be at least two, a context and what follows, got 1"):
        next_token_pairs(["a"])


def test_what_does_not_fit_is_told():
    with pytest.raises(ArgumentError, match="ids must be as many as tokens, 4, got 1"):
        shifted_targets(WORDS, ids=[1])
    with pytest.raises(ArgumentError, match=r"targets must be \[4\], one row, got \[1, 4\]"):
        shifted_targets(WORDS, targets=Targets.from_labels(torch.tensor([IDS])))
    with pytest.raises(ArgumentError, match=r"targets must be those of the next token, at\(1\), got at\(2\)"):
        shifted_targets(WORDS, targets=Targets.from_labels(torch.tensor(IDS)).at(2))


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor])
def test_ids_of_any_kind_are_written_as_numbers(kind):
    figure = shifted_targets(["The", " cat"], ids=kind([464, 3797]))
    assert "The (464) predicts cat (3797)" in figure.description


@pytest.mark.parametrize("ids", [["x", "y"], [1.5, 2.5], 7])
def test_ids_that_are_no_whole_numbers_are_refused(ids):
    with pytest.raises(ArgumentTypeError, match="ids must be a"):
        shifted_targets(["a", "b"], ids=ids)
