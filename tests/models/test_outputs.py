"""Outputs are found in whatever a model returns, or it is said what was returned instead."""

from types import SimpleNamespace

import pytest
import torch

from lmhead.errors import ArgumentError, ArgumentTypeError
from lmhead.models.outputs import outputs_of

IDS = torch.zeros(2, 3, dtype=torch.long)
LOGITS = torch.zeros(2, 3, 5)


@pytest.mark.parametrize(
    "made", [LOGITS, (LOGITS, None), SimpleNamespace(logits=LOGITS), SimpleNamespace(logits=(LOGITS,))]
)
def test_outputs_are_found(made):
    assert outputs_of(made, IDS) is LOGITS


@pytest.mark.parametrize("made", [None, [LOGITS], (None, LOGITS), {"logits": LOGITS}])
def test_what_holds_no_tensor_is_refused(made):
    with pytest.raises(ArgumentTypeError, match=r"model must give a Tensor, a tuple that begins with one, or \.logits"):
        outputs_of(made, IDS)


def test_outputs_of_other_positions_are_refused():
    with pytest.raises(ArgumentError, match=r"model must give outputs \[2, 3, \.\.\.\], got \[2, 2, 5\]"):
        outputs_of(LOGITS[:, :2], IDS)
