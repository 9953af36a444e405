"""Documents of a mask of which token sees which, in every form in which collators give it."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmhead import ArgumentError
from lmhead.labels.collated.square_mask import documents_of_square


def square(documents):
    """bool [R, 1, T, T]: a token sees those of its document up to itself; padding, -1, sees and is seen by none."""
    document = torch.tensor(documents)
    same = (document[:, :, None] == document[:, None, :]) & (document >= 0)[:, None, :]
    return (same & torch.tril(torch.ones_like(same)))[:, None]


FORMS = {
    "bool": lambda mask: mask,
    "one of each row": lambda mask: mask[:, 0],
    "of heads": lambda mask: mask.expand(-1, 3, -1, -1),
    "numbers": lambda mask: mask.long(),
    "float numbers": lambda mask: mask.float(),
    "added": lambda mask: torch.zeros(mask.shape).masked_fill(~mask, -torch.inf),
    "added, 16 bits": lambda mask: torch.zeros(mask.shape).half().masked_fill(~mask, torch.finfo(torch.half).min),
    "numpy": lambda mask: mask.numpy(),
    "lists": lambda mask: mask.tolist(),
}


@pytest.mark.parametrize("form", FORMS)
@given(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3), min_size=1, max_size=3), st.data())
def test_documents_are_those_that_the_mask_was_made_of(form, lengths, data):
    T = max(map(sum, lengths))
    left = data.draw(st.booleans())
    rows = []
    for row in lengths:
        own = [number for number, length in enumerate(row) for _ in range(length)]
        padding = [-1] * (T - len(own))
        rows.append(padding + own if left else own + padding)
    found = documents_of_square("attention_mask", FORMS[form](square(rows)), np.ones((len(rows), T), np.bool_))
    if all(len(row) == 1 and row[0] == T for row in lengths):
        assert found is None
        return
    for got, row in zip(found.tolist(), rows, strict=True):
        assert [each < 0 for each in got] == [each < 0 for each in row]
        changes = [[a != b for a, b in pairwise(each)] for each in (got, row)]
        assert changes[0] == changes[1]


def test_a_mask_that_lets_all_be_seen_tells_nothing():
    present = np.ones((2, 4), np.bool_)
    assert documents_of_square("mask", torch.zeros(2, 1, 4, 4), present) is None
    assert documents_of_square("mask", torch.ones(1, 1, 4, 4).tril(), present) is None


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ArgumentError, match=r"attention_mask must be \[2, 4\] or \[2, 1, 4, 4\], got \[2, 1, 4, 5\]"):
        documents_of_square("attention_mask", torch.ones(2, 1, 4, 5), np.ones((2, 4), np.bool_))
