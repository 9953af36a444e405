"""What goes over the vocabulary tile by tile: the scan without gradients, and the order that needs no accumulator."""

import math
from functools import partial

import pytest
import torch
from tests.ops.plain_arithmetic import Plain

from lmhead import IGNORE_INDEX, linear_cross_entropy, release_workspace, token_logprobs
from lmhead.ops.chunked.vocabulary_scan import runs
from lmhead.ops.problem import Problem
from lmhead.ops.products.tiles import Tiles

MANY = 9001  # tokens: three tiles of the scan


def scanned(hidden, weight, targets, **options):
    with torch.no_grad():
        return linear_cross_entropy(hidden, weight, targets, return_stats=True, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("budget", [None, 400_000, 1])
def test_the_scan_is_what_the_rows_give(draw, dtype, budget):
    drawn = draw(37, 12, MANY, bias=True, ignored=0.2).to(dtype)
    options = {"bias": drawn.bias, "softcap": 20.0, "z_loss": 1e-3, "label_smoothing": 0.1, "memory_budget": budget}
    loss, by_rows = linear_cross_entropy(drawn.hidden, drawn.weight, drawn.targets, return_stats=True, **options)
    scan_loss, by_scan = scanned(drawn.hidden, drawn.weight, drawn.targets, **options)
    torch.testing.assert_close(scan_loss, loss.detach(), rtol=1e-5, atol=1e-5)
    for name in ("nll", "lse", "entropy"):
        torch.testing.assert_close(getattr(by_scan, name), getattr(by_rows, name), rtol=1e-5, atol=1e-5)
    assert torch.equal(by_scan.hit, by_rows.hit)


def test_a_hit_is_the_first_of_equals_wherever_the_tiles_are_cut():
    columns = [0, 4095, 4096, 5000, 8192, MANY - 1]
    weight = torch.zeros(MANY, 1)
    for first in columns:
        for second in columns:
            weight.zero_()
            weight[[first, second]] = 3.0
            targets = torch.tensor([first, second])
            _, statistics = scanned(torch.ones(2, 1), weight, targets)
            assert statistics.hit.tolist() == [first <= second, second <= first], (first, second)


def test_a_margin_of_thirty_nats_keeps_its_digits_in_a_scan():
    weight = torch.zeros(8192, 1)
    weight[5000] = 30.0
    _, statistics = scanned(torch.ones(1, 1), weight, torch.tensor([5000]))
    exact = math.log1p(8191 * math.exp(-30.0))
    assert statistics.nll.item() == pytest.approx(exact, rel=1e-5)
    assert statistics.entropy.item() == pytest.approx(exact + 30 * 8191 * math.exp(-30.0), rel=1e-4)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_gives_a_loss_that_is_not(draw, value):
    drawn = draw(5, 4, MANY)
    drawn.hidden[2, 1] = value
    loss, statistics = scanned(drawn.hidden, drawn.weight, drawn.targets)
    assert not loss.isfinite()
    assert statistics.nll.isfinite().tolist() == [True, True, False, True, True]


@pytest.mark.parametrize("masked", [slice(0, 4096), slice(4096, MANY), slice(1, None)], ids=str)
def test_masked_tokens_count_for_nothing(masked):
    """A bias of -inf: a whole tile of them, or all but one token."""
    torch.manual_seed(0)
    hidden, weight, bias = torch.randn(3, 4), torch.randn(MANY, 4), torch.zeros(MANY)
    bias[masked] = -math.inf
    kept = bias.isfinite().nonzero()[:, 0]
    targets = kept[torch.tensor([0, len(kept) // 2, len(kept) - 1])]
    loss, statistics = scanned(hidden, weight, targets, bias=bias)
    logits = (hidden @ weight.T)[:, kept]
    expected = torch.distributions.Categorical(logits=logits)
    torch.testing.assert_close(statistics.entropy, expected.entropy(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(statistics.lse, logits.logsumexp(1), rtol=1e-5, atol=1e-6)
    assert loss.isfinite()
    masked_target, _ = scanned(hidden, weight, torch.full((3,), int(bias.isinf().nonzero()[0])), bias=bias)
    assert masked_target == math.inf


def test_ranks_and_several_targets_keep_their_rows_whole():
    def problem(per_row, *outputs):
        tensors = {"hidden": torch.empty(2, 3), "weight": torch.empty(5, 3)}
        targets = torch.zeros(2, per_row, dtype=torch.int64)
        return Problem(
            **tensors, targets=targets, outputs=dict.fromkeys(outputs, 1), compute_dtype=torch.float32, memory_budget=1
        )

    assert runs(problem(1, "entropy", "hit", "top_ids", "top_logprobs"))
    assert not runs(problem(2))
    assert not runs(problem(1, "rank"))


def test_scoring_holds_a_tile_at_a_time(draw):
    N, V = 64, 20_000
    drawn = draw(N, 8, V).to(torch.float32)
    release_workspace()
    sizes = allocations(torch.no_grad()(lambda: token_logprobs(drawn.hidden, drawn.weight, drawn.targets)))
    assert N * 4096 * 4 <= max(sizes) < N * 4400 * 4


def test_top_tokens_need_no_more_than_a_tile(draw):
    N, V = 64, 20_000
    drawn = draw(N, 8, V).to(torch.float32)
    release_workspace()
    scored = torch.no_grad()(partial(linear_cross_entropy, return_stats=True, top_k=5))
    sizes = allocations(lambda: scored(drawn.hidden, drawn.weight, drawn.targets))
    assert N * 4096 * 4 <= max(sizes) < N * 4400 * 4


def allocations(function):
    """Bytes of every allocation that `function` makes."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        function()
    events = profile.profiler.kineto_results.events()
    return [event.nbytes() for event in events if event.name() == "[memory]" and event.nbytes() > 0]


@pytest.mark.parametrize(("backend", "has_one"), [("row_major", True), ("chunked", False), ("vocabulary_major", False)])
def test_only_the_rows_order_needs_a_float32_accumulator(draw, backend, has_one):
    V, D, budget = 3000, 64, 300_000
    drawn = draw(200, D, V).to(torch.bfloat16)
    release_workspace()
    loss = partial(linear_cross_entropy, backend=backend, memory_budget=budget)
    sizes = allocations(lambda: loss(drawn.hidden, drawn.weight, drawn.targets).backward())
    release_workspace()
    assert sizes.count(V * D * 2) >= 1  # the gradient
    assert (max(sizes) >= V * D * 4) == has_one


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("budget", [None, 500_000, 100_000])
def test_the_vocabulary_order_is_as_good_as_full_logits(draw, solve, dtype, budget):
    drawn = draw(70, 24, 1100, bias=True, weights=True, ignored=0.2, adapter="dora").to(dtype)
    options = {"label_smoothing": 0.1, "z_loss": 1e-2, "softcap": 9.0}
    exact = solve(drawn.to(torch.float64), backend="reference", **options)
    plain = Plain(lambda: solve(drawn, backend="reference", **options))
    got = solve(drawn, backend="vocabulary_major", memory_budget=budget, **options)
    for name in ("loss", "d_hidden", "d_weight", "d_bias", "d_down", "d_up", "d_magnitude"):
        plain.assert_as_exact(name, got[name], exact[name])


def test_nothing_scored_leaves_a_gradient_of_zero(draw):
    drawn = draw(6, 4, 50).to(torch.float32)
    targets = torch.full_like(drawn.targets, IGNORE_INDEX)
    linear_cross_entropy(drawn.hidden, drawn.weight, targets, backend="vocabulary_major").backward()
    assert drawn.weight.grad.eq(0).all()
    assert drawn.hidden.grad.eq(0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("mib", [1, 16, 64, 256])
@pytest.mark.parametrize("n", [1, 100, 4096, 100_000])
def test_tiles_cover_everything_within_the_budget(dtype, mib, n):
    V, D = 32_000, 64
    problem = Problem(
        hidden=torch.empty(1, D, dtype=dtype),
        weight=torch.empty(V, D, dtype=dtype),
        targets=torch.zeros(1, 1, dtype=torch.int64),
        compute_dtype=dtype,
        memory_budget=mib * 2**20,
    )
    tiles = Tiles.of(problem, n, most_rows=n, most_columns=V, copied=True)
    assert sum(part.stop - part.start for part in tiles.of_vocabulary()) == V
    assert sum(part.stop - part.start for part in tiles.of_rows()) == n
    assert tiles.chunk_rows * (tiles.columns + D) * dtype.itemsize <= mib * 2**20
    assert 1 <= tiles.piece_rows <= tiles.chunk_rows
