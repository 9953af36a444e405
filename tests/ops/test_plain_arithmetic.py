"""The yardstick itself: its errors are a plain loop's, torch keeps to it, and what loses precision is found."""

import numpy as np
import pytest
import torch
from tests.ops.plain_arithmetic import Plain, _PlainArithmetic, variance_of_loop

from lmhead.ops.chunked.row_softmax import RowSoftmax
from lmhead.ops.products import head_products


@pytest.mark.parametrize("shift", [0.0, 1.0], ids=["sum to nothing", "sum up"])
@pytest.mark.parametrize("n", [24, 1100])
def test_a_loop_of_float32_additions_is_off_by_what_the_formula_says(n, shift):
    terms = (np.random.default_rng(0).standard_normal((500, n)) + shift).astype(np.float32)
    loops = np.cumsum(terms, axis=1, dtype=np.float32)[:, -1]  # one term after the other, on any processor
    exact = torch.from_numpy(terms.astype(np.float64))
    measured = (torch.from_numpy(loops).double() - exact.sum(1)).square().mean().sqrt()
    expected = variance_of_loop(n, exact.square().sum(1), exact.sum(1)).mean().div(3).sqrt() * 2.0**-24
    assert (
        0.5 * expected < measured < expected
    )  # a rounding is uniform within u |s| at most: within half of it, at best


NARROW = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)


def by_chance(run):
    with _PlainArithmetic(seed=1, to_nearest=False):
        return run()


@NARROW
def test_a_number_that_has_the_digits_is_not_changed(dtype):
    x = torch.tensor([0.0, 1.0, -1.5, 2.0**-14, 96.0, -torch.inf, torch.nan], dtype=dtype)
    torch.testing.assert_close(by_chance(lambda: 2 * x), 2 * x, rtol=0, atol=0, equal_nan=True)


@NARROW
def test_others_are_rounded_to_either_neighbour(dtype):
    thirds = by_chance(lambda: torch.ones(4000, dtype=dtype) / 3).double()
    below, above = sorted(thirds.unique().tolist())
    assert above - below == torch.finfo(dtype).eps / 4
    assert thirds.mean().item() == pytest.approx(1 / 3, rel=torch.finfo(dtype).eps / 10)


@NARROW
def test_the_first_run_rounds_to_nearest(dtype):
    x = torch.arange(1, 200, dtype=dtype)
    assert torch.equal(Plain(lambda: {"x": x / 3})["x"], x / 3)


@pytest.fixture
def drawn(draw):
    return draw(70, 24, 1100, bias=True, weights=True, ignored=0.2)


def not_as_exact(solve, drawn, **how):
    """Which results are further off than plain arithmetic allows."""
    exact, got = solve(drawn.to(torch.float64), backend="reference"), solve(drawn, **how)
    plain = Plain(lambda: solve(drawn, backend="reference"))
    found = set()
    for name in ("loss", "nll", "lse", "entropy", "d_hidden", "d_weight", "d_bias"):
        try:
            plain.assert_as_exact(name, got[name], exact[name])
        except AssertionError:
            found.add(name)
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_torch_is_as_exact_on_this_processor(solve, drawn, dtype):
    assert not not_as_exact(solve, drawn.to(dtype), backend="reference")


class TestLostPrecisionIsFound:
    """Each of these is one line in the op. (That the op as it is passes, the other files test.)"""

    def test_a_sum_over_chunks_in_16_bits(self, draw, solve, monkeypatch):
        original = head_products.WeightGradient
        monkeypatch.setattr(
            head_products, "WeightGradient", lambda *given, **named: original(*given, **named | {"rounding": True})
        )
        many = draw(512, 8, 64, bias=True).to(torch.bfloat16)
        assert not_as_exact(solve, many, backend="row_major", memory_budget=1) == {"d_weight"}

    @pytest.mark.parametrize(("dtype", "digits"), [(torch.float32, 19), (torch.bfloat16, 5)], ids=str)
    @pytest.mark.parametrize("what", ["logits", "gradient"])
    def test_logits_or_their_gradient_of_fewer_digits(self, solve, drawn, monkeypatch, what, dtype, digits):
        def coarser(self, products, *others):
            if what == "logits":
                shorten(products, digits)
            run(self, products, *others)
            if what == "gradient":
                shorten(products, digits)

        run = RowSoftmax.run
        monkeypatch.setattr(RowSoftmax, "run", coarser)
        found = not_as_exact(solve, drawn.to(dtype), backend="row_major")
        assert found >= ({"nll", "lse", "d_weight"} if what == "logits" else {"d_weight"})

    def test_a_softmax_in_16_bits(self, solve, drawn, monkeypatch):
        def block(self, x, *others):
            original(self, x.copy_(x.bfloat16()), *others)

        original = RowSoftmax._block
        monkeypatch.setattr(RowSoftmax, "_block", block)
        assert not_as_exact(solve, drawn.to(torch.float32), backend="row_major") >= {"nll", "d_hidden", "d_weight"}


def shorten(x, digits):
    """To so many significant bits, in place."""
    mantissa, exponent = torch.frexp(x.double())
    x.copy_(torch.ldexp((mantissa * 2**digits).round() / 2**digits, exponent))
