"""What the benchmarks make of what they measured: peaks, rounds, ratios, fits."""

import itertools

import pytest
from benchmarks.harness import Case, Memory, Timings, _peak_of, interleave
from benchmarks.op.grid import _SHAPES, rounds
from benchmarks.op.growth import exponent
from benchmarks.op.memory import _Peak
from benchmarks.op.problem import DTYPES, Inputs, Shape


def test_the_peak_is_the_highest_sum_and_the_largest_tensors_alive_then():
    assert _peak_of([100, 30, -100, 50, 60, -30, 5]) == (140, (60, 50, 30))


def test_releasing_what_was_there_before_lowers_what_follows():
    assert _peak_of([-100, 40, 70]) == (10, (70, 40))


def test_a_case_that_sits_out_has_none_and_its_ratio_is_of_the_rounds_that_it_ran():
    calls = {"slow": 0, "fast": 0}

    def count(name):
        calls[name] += 1

    cases = [
        Case(name="slow", run=lambda: count("slow"), most_rounds=1, warm_up=False),
        Case(name="fast", run=lambda: count("fast")),
    ]
    timings = interleave(cases, rounds=3, label=None)
    assert [seconds is None for seconds in timings.seconds["slow"]] == [False, True, True]
    assert None not in timings.seconds["fast"]
    assert calls["slow"] < calls["fast"]
    assert Timings(seconds={"a": [2.0, None, 9.0], "b": [1.0, 1.0, 3.0]}).ratio("a", "b") == 2.5


@pytest.mark.parametrize("power", [0, 1, 1.5])
def test_the_exponent_is_that_of_the_last_decade(power):
    sizes = [8 * 2**step for step in range(11)]
    values = [7.0 if size < 800 else 3 * size**power for size in sizes]
    assert exponent(sizes, values) == pytest.approx(power)


def test_the_grid_has_every_corner_and_a_middle():
    corners = set(itertools.product((32768, 131072), (512, 2048), (1024, 4096)))
    assert {(shape.V, shape.D, shape.N) for shape in _SHAPES} == corners | {(50257, 768, 2048)}


def test_what_takes_long_runs_in_fewer_rounds():
    by_work = sorted(_SHAPES, key=lambda shape: shape.operations)
    for dtype in DTYPES.values():
        counts = [rounds(shape, dtype) for shape in by_work]
        assert counts == sorted(counts, reverse=True)
        assert counts[-1] >= 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_only_a_16_bit_head_has_an_accumulator(dtype):
    inputs = Inputs(Shape(N=4, D=8, V=64), DTYPES[dtype])
    accumulator = 64 * 16 * 4  # a row of 8 is padded to a cache line
    memory = Memory(allocator=10_000, process=20_000, largest=(accumulator, 100))
    peak = _Peak.of(memory, inputs)
    assert peak.accumulator == (0 if dtype == "float32" else accumulator)
    assert peak.budgeted == 10_000 - inputs.gradient_bytes() - peak.accumulator
