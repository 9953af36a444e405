"""Intervals of ratios over documents: against loops and formulae, whatever the order and the sign."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmhead.errors import ArgumentError
from lmhead.evaluation.intervals import ratio_interval as module
from lmhead.evaluation.intervals.ratio_interval import Ratio, ratio_interval, ratio_intervals
from lmhead.evaluation.intervals.resampled_sums import resampled_sums
from lmhead.evaluation.intervals.student import student_level, student_quantile


def made(n, seed=0, sigma=1.0):
    """Documents of heavy-tailed sizes, each at a level of its own."""
    rng = np.random.default_rng(seed)
    size = np.ceil(np.exp(4 + sigma * rng.standard_normal(n)))
    return size * (2 + 0.4 * rng.standard_exponential(n)), size


def interval(x, size, **options):
    kind = options.pop("kind", "amount")
    return ratio_interval(
        Ratio(numerators=np.asarray(x, float), denominators=np.asarray(size, float), kind=kind), **options
    )


def ends(found):
    return found.low, found.high


def drawn_counts(n, resamples, seed):
    """How often each document is drawn, by the columns of the identity."""
    return resampled_sums(np.eye(n), resamples=resamples, seed=seed)


@pytest.mark.parametrize("n", [6, 13, 40])
def test_the_interval_is_that_of_an_explicit_loop_over_resamples(n):
    x, size = made(n, n)
    order = module._Linear(Ratio(numerators=x, denominators=size)).columns()
    order = np.lexsort(order.T)
    x, size = x[order], size[order]
    value = x.sum() / size.sum()

    def error(x, size):
        ratio = x.sum() / size.sum()
        return math.sqrt(sum((a - ratio * b) ** 2 for a, b in zip(x, size, strict=True)) * n / (n - 1)) / size.sum()

    distances = []
    for counts in drawn_counts(n, 499, 3).astype(int):
        chosen = np.repeat(np.arange(n), counts)
        assert len(chosen) == n
        draw = x[chosen], size[chosen]
        distances.append(abs(draw[0].sum() / draw[1].sum() - value) / error(*draw))
    critical = sorted(distances)[math.ceil(0.95 * 500) - 1]
    found = interval(x, size, resamples=499, seed=3)
    assert found.method == "bootstrap"
    np.testing.assert_allclose(found.value, value, rtol=1e-14)
    half = critical * error(x, size)
    np.testing.assert_allclose(ends(found), (max(value - half, 0.0), value + half), rtol=1e-10)


def test_resamples_are_multinomial():
    counts = drawn_counts(5, 20_000, 0)
    assert (counts.sum(1) == 5).all()
    for place in range(5):
        share = [(counts[:, place] == times).mean() for times in range(3)]
        np.testing.assert_allclose(share, [math.comb(5, k) * 0.2**k * 0.8 ** (5 - k) for k in range(3)], atol=0.015)


def test_blocks_of_resamples_join_at_the_right_places(monkeypatch):
    columns = np.stack([np.ones(7), np.arange(7.0)], axis=1)
    monkeypatch.setattr("lmhead.evaluation.intervals.resampled_sums._WEIGHTS", 20)
    sums = resampled_sums(columns, resamples=11, seed=0)
    assert sums.shape == (11, 2)
    assert (sums[:, 0] == 7).all()
    assert len(set(sums[:, 1])) > 3


@given(st.lists(st.tuples(st.floats(0.1, 100), st.integers(1, 1000)), min_size=2, max_size=2))
def test_two_documents_have_the_interval_of_the_formula(documents):
    (a, m), (b, n) = documents
    found = interval([a, b], [m, n])
    value, half = (a + b) / (m + n), 12.706204736 * abs(a / m - b / n) / 2  # the jackknife's standard error
    assert found.value == pytest.approx(value, rel=1e-14)
    assert found.high - found.value == pytest.approx(half, rel=1e-7, abs=1e-9 * value)
    assert found.low == pytest.approx(max(value - half, 0.0), rel=1e-7, abs=1e-7 * max(value, half))
    assert "only 2 documents" in found.note


def test_few_documents_have_the_jackknife():
    x, size = made(4, 1)
    left_out = np.array([(x.sum() - a) / (size.sum() - b) for a, b in zip(x, size, strict=True)])
    error = math.sqrt(3 / 4 * ((left_out - left_out.mean()) ** 2).sum())
    found = interval(x, size)
    assert found.method == "student"
    assert found.high - found.low == pytest.approx(2 * 3.182446305 * error, rel=1e-8)


def test_one_document_has_a_value_and_no_interval_and_says_why():
    found = interval([6.0], [3.0])
    assert (found.value, found.low, found.high, found.method) == (2.0, None, None, None)
    assert found.note.startswith("one document: ")
    with_empty = interval([6.0, 0.0], [3.0, 0.0])
    assert with_empty.low is None
    assert with_empty.documents == 1


def test_many_documents_of_one_weight_are_as_the_bootstrap_would_have_them(monkeypatch):
    x, size = made(4000, sigma=0.3)
    quick = interval(x, size)
    assert quick.method == "student"
    monkeypatch.setattr(module, "ENOUGH", 10**9)
    slow = interval(x, size, resamples=2000)
    assert slow.method == "bootstrap"
    assert (quick.high - quick.low) / (slow.high - slow.low) == pytest.approx(1, abs=0.05)


@given(st.permutations(list(range(12))), st.integers(0, 5))
def test_the_order_of_documents_changes_no_bit(order, seed):
    x, size = made(12, seed)
    assert interval(x, size, resamples=99) == interval(x[list(order)], size[list(order)], resamples=99)


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(1, 4)), min_size=2, max_size=15))
def test_numerators_of_the_other_sign_give_the_interval_of_the_other_sign(documents):
    x, size = np.array(documents, float).T
    one, other = (interval(sign * x, size, kind="difference", resamples=99) for sign in (1, -1))
    if x.sum():
        assert -one == other
    else:
        assert one.value == other.value == 0


def test_empty_documents_change_nothing():
    x, size = made(15)
    assert interval(x, size, resamples=99) == interval(np.append(x, [0, 0]), np.append(size, [0, 0]), resamples=99)


def test_duplicates_of_all_documents_leave_the_value_and_narrow_the_interval():
    x, size = made(30)
    one, two = interval(x, size), interval(np.tile(x, 2), np.tile(size, 2))
    assert one.value == pytest.approx(two.value, rel=1e-14)
    assert two.high - two.low < 0.8 * (one.high - one.low)
    assert two.effective == pytest.approx(2 * one.effective)


def test_documents_of_one_ratio_have_an_interval_of_no_width():
    size = np.arange(1.0, 30)
    found = interval(size * 0.1, size)
    assert found.low == found.value == found.high
    assert ends(interval(0 * size, size, kind="difference")) == (0, 0)


def test_an_interval_of_a_share_stays_in_0_to_1_and_is_not_empty_where_all_were_hits():
    size = np.full(12, 1.0)
    for hits in (0, 1, 6, 11, 12):
        found = interval([1.0] * hits + [0.0] * (12 - hits), size, kind="share")
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.high - found.low > 0.2


def test_a_share_of_many_even_documents_has_the_interval_of_an_amount():
    rng = np.random.default_rng(0)
    size = np.full(400, 100.0)
    hits = rng.binomial(100, 0.4, 400).astype(float)
    share, amount = interval(hits, size, kind="share"), interval(hits, size)
    np.testing.assert_allclose(ends(share), ends(amount), atol=1e-4)


def test_an_interval_excludes_0_where_p_is_small():
    for shift, seed in itertools.product((0.0, 0.1, 0.3), range(8)):
        x, size = made(25, seed)
        found = interval(x - (2.4 - shift) * size, size, kind="difference", resamples=499)
        assert found.excludes_zero == (found.p <= 0.05)


def test_ratios_of_the_same_documents_are_made_at_once_as_one_by_one():
    x, size = made(1000)
    pair = [Ratio(numerators=x, denominators=size), Ratio(numerators=size, denominators=np.ones(1000))]
    together, alone = ratio_intervals(pair), [ratio_interval(each) for each in pair]
    for one, other in zip(together, alone, strict=True):
        assert one.value == other.value
        np.testing.assert_allclose(ends(one), ends(other), rtol=0.02)  # other draws


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused_by_its_place(bad):
    with pytest.raises(ArgumentError, match=r"numerators must be finite, got \S+ for document 2 of 3"):
        interval([1.0, bad, 2.0], [1, 1, 1])


def test_sizes_that_are_negative_or_all_0_are_refused():
    with pytest.raises(ArgumentError, match="denominators must be >= 0"):
        interval([1.0, 1.0], [1, -1])
    with pytest.raises(ArgumentError, match="denominators must have one > 0"):
        interval([1.0, 1.0], [0, 0])


def test_one_document_that_outweighs_all_others_is_told():
    x, size = made(60)
    size[0] = 100 * size.sum()
    assert "60 documents weigh as 1 of one size (the longest is 99 % of all)" in interval(x, size).note


def test_intervals_of_documents_hold_the_truth_where_those_of_tokens_do_not():
    rng = np.random.default_rng(0)
    held = of_tokens = 0
    truth, times = 2.4, 200
    for _ in range(times):
        size = np.ceil(np.exp(4 + rng.standard_normal(25)))
        x = size * (2 + 0.4 * rng.standard_exponential(25)) + np.sqrt(size) * rng.standard_normal(25)
        found = interval(x, size, resamples=199)
        held += found.low <= truth <= found.high
        half = 1.96 * math.sqrt(1.16 / size.sum())  # the standard deviation of a token, were they independent
        of_tokens += abs(found.value - truth) <= half
    assert held / times > 0.88
    assert of_tokens / times < 0.7


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [
        (1, 12.7062047),
        (2, 4.3026527),
        (3, 3.1824463),
        (10, 2.2281389),
        (60, 2.0002978),
        (61, 1.9996236),
        (120, 1.97993),
    ],
)
def test_students_quantiles_are_those_of_tables(freedom, expected):
    assert student_quantile(0.95, freedom) == pytest.approx(expected, rel=1e-6)
    assert student_level(expected, freedom) == pytest.approx(0.95, rel=1e-6)


def test_an_amount_that_is_never_negative_has_no_interval_below_zero():
    x, size = np.array([1.0, 40.0, 2.0]), np.array([10.0, 20.0, 10.0])
    found = interval(x, size)
    assert found.low == 0.0
    assert interval(x - 2, size).low < 0.0  # of amounts that may be negative, as some are
    assert ends(interval(-x, size)) == (-found.high, 0.0)
    assert interval(x, size, kind="difference").low < 0.0


def test_a_figure_that_cannot_be_negative_has_an_interval_that_is_not_and_one_document_that_decides_is_told():
    hard = interval([*[1.0] * 60, 3000.0], [*[30] * 60, 33])
    assert hard.low == 0
    assert "one document makes 9" in hard.note
    assert "one document" not in interval([*[1.0] * 30, *[2.0] * 30], [30] * 60).note
    difference = interval([*[1.0] * 60, -3000.0], [*[30] * 60, 33], kind="difference")
    assert difference.low < 0
