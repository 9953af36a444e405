"""Pairwise choice leaves no two values apart, is the same each time, and leaves nothing out at night."""

from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pairwise import covering, pairwise


def pairs(rows):
    return {pair for row in rows for pair in combinations(enumerate(row), 2)}


@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_every_pair_of_values_that_occurs_is_chosen(sizes, random):
    every = list(product(*map(range, sizes)))
    allowed = random.sample(every, k=random.randint(1, len(every)))  # where some values exclude each other
    for rows in (every, allowed):
        chosen = list(covering(rows))
        assert pairs(chosen) == pairs(rows)
        assert set(chosen) <= set(rows)
        assert len(chosen) == len(set(chosen))


def test_few_rows_are_chosen():
    assert len(list(covering(list(product(range(2), repeat=2))))) == 4
    assert len(list(covering(list(product(range(2), repeat=7))))) <= 10  # of 128
    assert len(list(covering(list(product(range(4), range(4), range(2), range(2)))))) <= 18  # of 64; 16 at least


@pytest.fixture
def profile():
    """Loads another of hypothesis's profiles, until the test ends."""
    before = settings.get_current_profile_name()
    yield settings.load_profile
    settings.load_profile(before)


def test_a_test_gets_the_values_themselves_under_their_names(profile):
    profile("suite")
    mark = pairwise(one=["a", "b"], two=[None, {}], three=[0, False]).mark
    assert mark.name == "parametrize"
    names, rows = mark.args
    assert names == ("one", "two", "three")
    assert len(rows) == 4
    assert all(one in ("a", "b") and (two is None or two == {}) and three in (0, False) for one, two, three in rows)
    assert [repr(row) for row in rows] == [
        repr(row) for row in pairwise(one="ab", two=[None, {}], three=[0, False]).args[1]
    ]


def test_at_night_there_are_all_combinations(profile):
    profile("nightly")
    assert pairwise(one="ab", two="cd", three="ef").args[1] == list(product("ab", "cd", "ef"))


def test_one_option_alone_has_no_pairs():
    with pytest.raises(AssertionError, match="two options"):
        pairwise(one="abc")
