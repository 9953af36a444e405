"""Quantiles out of counts are those of the sorted values, as far as they are told apart."""

import numpy as np
import pytest

from lmhead.evaluation.sums.counted import EXACT_RANKS, NATS_STEP, Counted

SHARES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


def exact(values, share):
    """The least value that this share of the values do not exceed."""
    return np.sort(values)[max(1, int(np.ceil(share * len(values) - 1e-9))) - 1]


@pytest.mark.parametrize("seed", range(4))
def test_quantiles_of_nats_are_the_next_step_above_the_exact_ones(seed):
    rng = np.random.default_rng(seed)
    values = rng.gamma(1.0, 2.0, int(rng.integers(1, 500)))
    counted = Counted("nats")
    for part in np.array_split(values, 5):
        counted.add(part)
    for share in SHARES:
        assert -1e-9 <= counted.quantile(share) - exact(values, share) < NATS_STEP + 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_ranks_are_exact_where_they_are_small_and_near_beyond(seed):
    rng = np.random.default_rng(seed)
    values = (rng.pareto(0.5, 400) * 5).astype(np.int64).clip(0, 200_000)
    counted = Counted("ranks")
    counted.add(values)
    for share in SHARES:
        found, wanted = counted.quantile(share), exact(values, share)
        assert found == wanted if wanted < EXACT_RANKS else wanted <= found <= wanted * 1.0443
    for rank in (1, 5, 10, 100, EXACT_RANKS):
        assert counted.below(rank) == (values < rank).sum()


def test_no_quantile_is_larger_than_the_largest_value():
    counted = Counted("nats")
    counted.add(np.array([0.001, 0.002]))
    assert counted.quantiles(SHARES) == (0.002,) * len(SHARES)


def test_what_is_beyond_every_edge_is_told_as_that():
    counted = Counted("nats")
    counted.add(np.array([1.0, 5000.0]))
    assert counted.quantiles((0.5, 0.75)) == (1.0, None)
    assert counted.largest == 5000.0
