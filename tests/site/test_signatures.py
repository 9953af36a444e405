"""The reference shows one signature for each function, with every keyword that it takes."""

import inspect
import sys
import typing

import pytest
from tests.site.public_callables import ROOT

import lmhead
from lmhead.heads.scoring_head import ScoringHead
from lmhead.ops.keywords import HeadLossKeywords

pytest.importorskip("sphinx")
sys.path.append(str(ROOT / "docs" / "_ext"))

from lmhead_reference.signatures import with_keywords


def test_keywords_that_are_passed_on_are_shown_by_name():
    shown = with_keywords(inspect.unwrap(ScoringHead.loss), bound=True)
    assert all(f"{name}: " in shown for name in typing.get_type_hints(HeadLossKeywords))
    assert "**options" not in shown
    assert "reduction: 'mean' | 'sum' | 'none' = ..." in shown


def test_what_is_taken_to_be_refused_is_not_shown():
    shown = with_keywords(inspect.unwrap(ScoringHead.loss), bound=True)
    assert shown.startswith("(hidden: ~torch.Tensor, *, labels: ~torch.Tensor | None = None")
    assert "misplaced" not in shown


def test_other_signatures_stay_as_they_are():
    assert with_keywords(lmhead.shift_labels) == "(labels: ~torch.Tensor, *, ignore_index: int = -100)"
