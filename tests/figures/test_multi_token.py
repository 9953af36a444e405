"""MTP's offsets as a picture: what `Targets.at` says, depth by depth."""

import pytest
import torch

from lmhead.errors import ArgumentError
from lmhead.figures.multi_token import mtp_offsets
from lmhead.figures.theme import THEMES
from lmhead.labels.targets import Targets

LETTERS = list("abcdef")


@pytest.mark.parametrize("document", [None, [0, 0, 0, 0, 1, 1], [0, 0, 0, -1, -1, -1]])
@pytest.mark.parametrize("mtp_depth", [1, 2, 5])
def test_each_depth_has_the_targets_of_its_offset(mtp_depth, document, words, filled):
    figure = mtp_offsets(LETTERS, mtp_depth=mtp_depth, document=document)
    documents = None if document is None else torch.tensor(document)
    targets = Targets.from_labels(torch.arange(6), document=documents)
    expected = [LETTERS[i] for k in range(1 + mtp_depth) for i in targets.at(1 + k).ids.tolist() if i >= 0]
    letters = [text for text in words(figure) if text in LETTERS]
    assert letters == LETTERS + expected
    assert filled(figure, THEMES["light"].learnt) == len(expected)


def test_depths_are_named_by_what_they_predict(words):
    said = words(mtp_offsets(LETTERS, mtp_depth=2))
    assert [text for text in said if "t +" in text] == ["head: t + 1", "depth 1: t + 2", "depth 2: t + 3"]
    assert "scored: 5, 4, 3 positions; hatched: nothing follows that far ahead" in said


@pytest.mark.parametrize(("mtp_depth", "rule"), [(0, "be >= 1, got 0"), (7, "be at most 6, to be read, got 7")])
def test_depths_that_cannot_be_drawn_are_refused(mtp_depth, rule):
    with pytest.raises(ArgumentError, match=f"mtp_depth must {rule}"):
        mtp_offsets(LETTERS, mtp_depth=mtp_depth)


def test_a_document_for_each_token():
    with pytest.raises(ArgumentError, match="document must have"):
        mtp_offsets(LETTERS, document=[0])
