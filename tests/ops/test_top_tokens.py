"""The largest of each row against a stable sort: numbers with many equals, rows around a block, tile by tile."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lmhead
from lmhead.ops.top_tokens import TopTokens, largest


def sorted_stably(logits, k):
    values, ids = logits.sort(dim=1, descending=True, stable=True)
    return values[:, :k], ids[:, :k]


@st.composite
def rows(draw):
    width = draw(st.one_of(st.integers(1, 300), st.sampled_from([640, 641, 4096, 5001, 41_000])))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    size = (draw(st.integers(0, 4)), width)
    logits = torch.randint(draw(st.sampled_from([1, 2, 9, 10**6])), size, generator=generator).double()
    logits[torch.rand(size, generator=generator) < draw(st.sampled_from([0.0, 0.5, 0.999]))] = -math.inf
    dtype = draw(st.sampled_from([torch.float64, torch.float32, torch.bfloat16]))
    k = draw(st.one_of(st.integers(1, min(width, 40)), st.just(min(width, 300))))
    return logits.to(dtype), k


@given(rows())
def test_they_are_the_first_of_a_stable_sort(drawn):
    logits, k = drawn
    for got, expected in zip(largest(logits, k), sorted_stably(logits, k), strict=True):
        assert torch.equal(got, expected)


@given(rows(), st.integers(1, 1000), st.integers(1, 3))
def test_tile_by_tile_and_some_rows_at_a_time_they_are_the_same(drawn, width, height):
    logits, k = drawn
    reader = TopTokens({"top_ids": k})
    width = max(width, logits.shape[1] // 7)
    for start in range(0, logits.shape[1], width):
        for first in range(0, len(logits), height):
            rows = slice(first, first + height)
            reader.read(logits[rows, start : start + width].clone(), rows, start)
    parts = [torch.cat(parts) for parts in zip(*reader.parts.values(), strict=True)]
    for got, expected in zip(parts, sorted_stably(logits, k), strict=bool(len(logits))):
        assert torch.equal(got, expected)


def test_only_some_rows_are_looked_at():
    logits = torch.randn(9, 5000)
    rows = torch.tensor([7, 2])
    for got, expected in zip(largest(logits, 4, rows), sorted_stably(logits[rows], 4), strict=True):
        assert torch.equal(got, expected)


def test_rows_that_are_parts_of_a_larger_buffer():
    logits = torch.randn(5, 9000)[:, 17:8017]
    assert torch.equal(largest(logits, 5)[1], sorted_stably(logits, 5)[1])


BACKENDS = ["reference", "chunked", "row_major", "vocabulary_major"]


@pytest.mark.parametrize("backend", [*BACKENDS, None])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_equal_logits_are_told_by_id_in_every_back_end(backend, dtype):
    """Of small integers the products are exact: what is equal is equal whichever way it is multiplied."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randint(-2, 3, (2, 7, 6), generator=generator)
    weight = torch.randint(-2, 3, (9001, 6), generator=generator)
    targets = torch.randint(9001, (2, 7, 2), generator=generator)
    targets[0, 3] = targets[1, 2, 0] = -100
    exact = (hidden @ weight.T).double().flatten(0, 1)
    expected = sorted_stably(exact, 5)[1].reshape(2, 7, 5)
    expected[0, 3] = 0
    hidden, weight = (tensor.to(dtype).requires_grad_() for tensor in (hidden, weight))
    for several, grad, budget in itertools.product([False, True], [False, True], [None, 1, 100_000]):
        with torch.set_grad_enabled(grad):
            _, statistics = lmhead.linear_cross_entropy(
                hidden,
                weight,
                targets if several else targets[..., 1],
                return_stats=True,
                top_k=5,
                memory_budget=budget,
                backend=backend,
            )
        assert torch.equal(statistics.top_ids, expected)
        assert statistics.top_logprobs[0, 3].eq(0).all()


@pytest.mark.parametrize("backend", ["chunked", "row_major", "vocabulary_major"])
def test_the_targets_entry_is_minus_its_nll_to_the_last_digit(backend):
    torch.manual_seed(0)
    hidden, weight = torch.randn(200, 8), torch.randn(50, 8)
    targets = (hidden @ weight.T).topk(3).indices[torch.arange(200), torch.arange(200) % 3]
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            _, statistics = lmhead.linear_cross_entropy(
                hidden.requires_grad_(), weight, targets, return_stats=True, top_k=5, backend=backend
            )
        found = statistics.top_ids == targets[:, None]
        assert found.sum() == 200
        assert torch.equal(statistics.top_logprobs[found], -statistics.nll)


def test_a_sure_token_keeps_its_digits():
    sure = torch.zeros(8192, 1)
    sure[0] = 30
    _, statistics = lmhead.linear_cross_entropy(torch.ones(1, 1), sure, torch.tensor([0]), return_stats=True, top_k=2)
    assert statistics.top_ids.tolist() == [[0, 1]]
    assert statistics.top_logprobs[0].tolist() == pytest.approx([-8191 * math.exp(-30), -30], rel=1e-5)


def test_all_tokens_may_be_asked_for():
    torch.manual_seed(0)
    hidden, weight, targets = torch.randn(4, 3), torch.randn(600, 3), torch.tensor([1, 2, 599, -100])
    _, statistics = lmhead.linear_cross_entropy(hidden, weight, targets, return_stats=True, top_k=600)
    torch.testing.assert_close(statistics.top_logprobs[:3].exp().sum(1), torch.ones(3))
    assert torch.equal(statistics.top_ids[:3].sort(1).values, torch.arange(600).expand(3, -1))


def test_compiled_they_are_the_same_and_a_node_of_the_graph():
    torch.manual_seed(0)
    weight = torch.randn(300, 8, requires_grad=True)

    def told(hidden, targets, k):
        loss, statistics = lmhead.linear_cross_entropy(hidden, weight, targets, return_stats=True, top_k=k)
        return loss, statistics.top_ids, statistics.top_logprobs

    compiled = torch.compile(told, fullgraph=True, backend="aot_eager")
    for rows, k in ((5, 3), (9, 3), (6, 4)):
        hidden, targets = torch.randn(rows, 8), torch.randint(300, (rows,))
        for got, expected in zip(compiled(hidden, targets, k), told(hidden, targets, k), strict=True):
            torch.testing.assert_close(got, expected)


def test_they_carry_no_gradient():
    hidden = torch.randn(3, 4, requires_grad=True)
    for backend in ("chunked", "reference"):
        for reduction in ("mean", "none"):
            _, statistics = lmhead.linear_cross_entropy(
                hidden,
                torch.randn(9, 4),
                torch.tensor([1, 2, 3]),
                return_stats=True,
                top_k=2,
                reduction=reduction,
                backend=backend,
            )
            assert not statistics.top_logprobs.requires_grad


@pytest.mark.parametrize("backend", [*BACKENDS, None])
@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("ranks", [False, True])
def test_the_largest_of_all_comes_with_the_statistics(backend, K, ranks):
    torch.manual_seed(0)
    hidden, weight = torch.randn(40, 6), 20 * torch.randn(500, 6)  # so sure that log p is 0 but for what log1p keeps
    targets = torch.randint(500, (40, K))
    targets[:20, 0] = (hidden[:20] @ weight.T).argmax(1)
    targets[5] = -100
    _, made = lmhead.linear_cross_entropy(
        hidden, weight, targets, return_stats=True, ranks=ranks, top_k=1, backend=backend
    )
    found, listed = made.max_logprob, made.top_logprobs.expand(-1, K)  # a row's is that of each of its targets
    if backend == "reference":
        torch.testing.assert_close(found, listed)
    else:
        assert torch.equal(found, listed)
        assert made.hit[:5].any()
        assert torch.equal(found[made.hit], -made.nll[made.hit])
    assert (found[5] == 0).all()
