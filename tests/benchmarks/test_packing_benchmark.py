"""The packing benchmark's own arithmetic: no packing beats its bound, and its peers count as they should."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import packing
from lmhead.labels.packing.best_fit import best_fit_decreasing


@given(st.lists(st.integers(1, 12), min_size=1, max_size=7))
def test_no_packing_has_fewer_rows_than_the_bound(lengths):
    fewest = fewest_by_trying(tuple(sorted(lengths, reverse=True)), 12)
    assert packing.fewest_rows(np.array(lengths), 12) <= fewest <= len(best_fit_decreasing(lengths, length=12))


def fewest_by_trying(falling: tuple[int, ...], length: int, spaces: tuple[int, ...] = ()) -> int:
    """Every document in every row that has room, and in a new one."""
    if not falling:
        return len(spaces)
    size, *rest = falling
    tries = [fewest_by_trying(tuple(rest), length, (*spaces, length - size))]
    for place in {space: place for place, space in enumerate(spaces) if space >= size}.values():
        left = (*spaces[:place], spaces[place] - size, *spaces[place + 1 :])
        tries.append(fewest_by_trying(tuple(rest), length, left))
    return min(tries)


def test_peers_by_hand():
    lengths = np.array([3, 5, 4, 8, 1])
    assert packing.next_fit_rows(lengths, 8) == 4
    assert packing.padded_tokens(lengths) == 5 * 8
    assert packing.padded_tokens(np.array([2] * 8 + [3])) == 16 + 3


@pytest.mark.parametrize("name", packing.DISTRIBUTIONS)
def test_lengths_are_drawn_alike_and_fit_a_row(name):
    lengths = packing.draw(name, length=2048, count=300)
    assert (lengths == packing.draw(name, length=2048, count=300)).all()
    assert lengths.min() >= 1
    assert lengths.max() <= 2048


def test_a_quick_run_has_a_row_for_each_distribution_and_length():
    report = packing.measure(count=50, rounds=1)
    assert len(report.rows) == 12
    assert len(report.goals) == 3
