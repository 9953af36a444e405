"""Refusals come back whole from worker processes."""

import pickle

import pytest

from lmhead.errors import ConversationError, NotTransparentError, TemplateError


@pytest.mark.parametrize(
    "error",
    [
        ConversationError("messages must fit", kind="too_long"),
        TemplateError("messages must render"),
        NotTransparentError("messages must render alike"),
        TemplateError("messages must render", kind="another"),
    ],
)
def test_a_refusal_survives_pickling(error):
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.kind) == (type(error), str(error), error.kind)
