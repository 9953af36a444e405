"""DraftCounts by hand: a depth is judged by the drafts that it made, not by those that it could have made."""

import pytest

from lmhead.generation.draft_counts import DraftCounts


def counted(*reads):
    counts = DraftCounts.of_depths(3)
    for drafted, accepted in reads:
        counts.add(drafted, accepted)
    return counts


def test_a_read_with_few_drafts_says_nothing_of_further_depths():
    many = [(3, 3), (3, 1)]
    few = [(1, 1)] * 10  # the end of a text has room for no more
    assert counted(*many).acceptance == [1.0, 0.5, 1.0]
    assert counted(*many, *few).acceptance == [1.0, 0.5, 1.0]


def test_the_accepted_length_is_one_more_than_what_each_depth_adds():
    counts = counted((3, 3), (3, 1), (2, 0), (0, 0))
    assert (counts.drafted, counts.reached, counts.accepted) == ([3, 3, 2], [3, 2, 1], [2, 1, 1])
    assert counts.accepted_length == pytest.approx(1 + 2 / 3 + 1 / 3 + 1 / 2)


def test_nothing_counted_is_no_division():
    assert counted().acceptance == [0.0, 0.0, 0.0]
    assert (counted().accepted_length, counted().tokens_per_forward) == (1.0, 0.0)


def test_counts_of_two_batches_are_those_of_both():
    counts, more = counted((3, 3), (2, 0)), counted((3, 1), (1, 1))
    counts.forwards, counts.tokens, more.forwards, more.tokens = 2, 5, 3, 6
    counts.merge(more)
    both = counted((3, 3), (2, 0), (3, 1), (1, 1))
    both.forwards, both.tokens = 5, 11
    assert counts == both
