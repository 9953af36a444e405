"""How a GPU's rows are cut: within the budget, and in memory that is there anyway. No tensor has memory here."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmhead.ops.problem import Problem
from lmhead.ops.products import mixed_product
from lmhead.ops.triton.gpu_plan import GpuPlan

MIB = 2**20
WHOLE = ("hidden", "weight")


def problem(N, D, V, *, dtype=torch.bfloat16, budget=512 * MIB):
    hidden, weight = (torch.empty(rows, D, dtype=dtype, device="meta") for rows in (N, V))
    targets = torch.empty(N, 1, dtype=torch.int64, device="meta")
    return Problem(hidden=hidden, weight=weight, targets=targets, compute_dtype=dtype, memory_budget=budget)


@pytest.fixture
def _mixed(monkeypatch):
    """As on a GPU, where 16-bit products are added to a float32 sum."""
    monkeypatch.setattr(mixed_product, "runs", lambda dtype, device: dtype.itemsize == 2)


@pytest.mark.usefixtures("_mixed")
def test_the_weights_gradient_lends_its_memory_to_the_logits():
    """512 MiB hold 1000 rows of Gemma 2's logits; its gradient holds 2300, and is there anyway."""
    given_rows = problem(8192, 2304, 256_000)
    lent = GpuPlan.of(given_rows, 8192, WHOLE, rounding=False)
    assert (lent.in_gradient, lent.chunk_rows, lent.chunks, lent.starved) == (True, 2048, 4, False)
    for wanted, rounding in ((("hidden",), False), (WHOLE, True)):  # no such gradient; one that is written at once
        own = GpuPlan.of(given_rows, 8192, wanted, rounding=rounding)
        assert (own.in_gradient, own.chunk_rows) == (False, 896)


@pytest.mark.usefixtures("_mixed")
def test_few_rows_are_one_chunk_in_memory_of_their_own():
    plan = GpuPlan.of(problem(100, 2304, 256_000), 100, WHOLE, rounding=False)
    assert (plan.chunks, plan.chunk_rows, plan.in_gradient) == (1, 100, False)


def test_where_few_rows_fit_the_vocabularys_order_is_taken():
    assert GpuPlan.of(problem(8192, 4096, 128_256, budget=64 * MIB), 8192, WHOLE, rounding=False).starved
    assert not GpuPlan.of(problem(8192, 4096, 128_256), 8192, WHOLE, rounding=False).starved


def test_no_row_is_no_chunk():
    assert GpuPlan.of(problem(0, 8, 100), 0, WHOLE, rounding=False).chunks == 0


@given(
    N=st.integers(1, 50_000),
    D=st.integers(1, 9000),
    V=st.integers(1, 300_000),
    budget=st.integers(1, 4096 * MIB),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_every_row_has_its_chunk_and_no_chunk_exceeds_the_budget(N, D, V, budget, dtype):
    plan = GpuPlan.of(problem(N, D, V, dtype=dtype, budget=budget), N, WHOLE, rounding=False)
    assert plan.chunks * plan.chunk_rows >= N > (plan.chunks - 1) * plan.chunk_rows
    assert not plan.in_gradient  # nothing lends: the device adds no 16-bit products to float32
    logits_states_and_gradient = plan.chunk_rows * (V + 3 * D) * dtype.itemsize
    assert plan.chunk_rows == 1 or logits_states_and_gradient <= budget
