"""The sum over chunks of gradient.T @ hidden: right for every number of chunks, in every mix of dtypes."""

import pytest
import torch
from tests.ops.plain_arithmetic import SLACK, Plain

from lmhead.ops.products.weight_gradient import WeightGradient

V, D, ROWS = 2100, 24, 16  # more than two tiles of 1024 rows
ROUNDED_TWICE = SLACK * 2**0.5  # pairs of 16-bit products are rounded before they are added, and so is the sum


def chunks_of(count, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [tuple(torch.randn(ROWS, size, generator=generator).to(dtype) for size in (V, D)) for _ in range(count)]


def exact_sum(chunks):
    return sum((gradient.double().t() @ hidden.double() for gradient, hidden in chunks), torch.zeros(V, D).double())


@pytest.mark.parametrize("count", range(8))
@pytest.mark.parametrize(
    ("compute", "stored"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.bfloat16),
        (torch.bfloat16, torch.float32),
        (torch.bfloat16, torch.float16),
        (torch.float16, torch.float16),
    ],
    ids=str,
)
def test_is_the_sum_of_all_chunks(count, compute, stored):
    chunks = chunks_of(count, compute)
    total = WeightGradient(torch.empty(V, D, dtype=stored), compute, count)
    for gradient, hidden in chunks:
        total.add(gradient, hidden)
    exact = exact_sum(chunks)
    assert total.result.dtype == stored
    if count == 0:
        assert total.result.eq(0).all()
        return
    gradients, states = (torch.cat(parts) for parts in zip(*chunks, strict=True))
    plain = Plain(lambda: {"sum": (gradients.t() @ states).to(stored)})  # one product of all rows
    plain.assert_as_exact("sum", total.result, exact, slack=ROUNDED_TWICE)


def test_sixty_chunks_of_bfloat16_round_no_more_than_one_product():
    """A bf16 sum of 60 would be off by many times as much; pairs are added in float32."""
    chunks = chunks_of(60, torch.bfloat16)
    total = WeightGradient(torch.empty(V, D, dtype=torch.bfloat16), torch.bfloat16, 60)
    naive = torch.zeros(V, D, dtype=torch.bfloat16)
    for gradient, hidden in chunks:
        total.add(gradient, hidden)
        naive += gradient.t() @ hidden
    exact = exact_sum(chunks)
    gradients, states = (torch.cat(parts) for parts in zip(*chunks, strict=True))
    Plain(lambda: {"sum": gradients.t() @ states}).assert_as_exact("sum", total.result, exact, slack=ROUNDED_TWICE)
    assert (naive.double() - exact).norm() > 3 * (total.result.double() - exact).norm()


def test_there_is_an_accumulator_only_where_one_is_needed():
    def has_one(compute, stored, chunks):
        return WeightGradient(torch.empty(V, D, dtype=stored), compute, chunks).accumulator is not None

    assert not has_one(torch.float32, torch.float32, 9)
    assert not has_one(torch.bfloat16, torch.float32, 9)
    assert not has_one(torch.bfloat16, torch.bfloat16, 2)
    assert has_one(torch.bfloat16, torch.bfloat16, 3)
    assert has_one(torch.bfloat16, torch.float16, 1)


def test_a_part_of_a_larger_result_is_written_in_place():
    whole = torch.full((V, D), 7.0)
    (chunk,) = chunks_of(1, torch.float32)
    part = slice(100, 300)
    total = WeightGradient(whole[part], torch.float32, 1, result=whole[part])
    total.add(chunk[0][:, part], chunk[1])
    torch.testing.assert_close(whole[part].double(), exact_sum([chunk])[part], rtol=1e-5, atol=1e-5)
    assert whole[300:].eq(7).all()
