"""Curves in buckets: short logs as they are; of long ones every minimum, maximum and mean."""

import math
import random

import numpy as np
import pytest

from lmhead.report.decimation import Buckets, DecimatedSteps


def lines(count: int, seed: int = 0) -> list[dict[str, float]]:
    chance = random.Random(seed)
    return [{"step": at + 1, "loss": chance.gauss(3, 1), "tokens": 10 * at, "seconds": at / 8} for at in range(count)]


def made_of(given: list[dict[str, float]], limit: int) -> Buckets:
    steps = DecimatedSteps(limit)
    for line in given:
        steps.add(line)
    return steps.buckets()


def test_a_short_log_is_told_as_it_is() -> None:
    given = lines(15)
    buckets = made_of(given, 8)
    assert buckets.width == 1
    for name in ("step", "tokens", "seconds"):
        assert buckets.axes[name].tolist() == [line[name] for line in given]
    for column in (buckets.curves["loss"].mean(), buckets.curves["loss"].low, buckets.curves["loss"].high):
        assert column.tolist() == [line["loss"] for line in given]


@pytest.mark.parametrize("count", [16, 17, 1000, 4097, 70_001])
def test_no_minimum_or_maximum_is_lost_and_means_are_those_of_the_lines(count: int) -> None:
    given = lines(count)
    values = np.array([line["loss"] for line in given])
    buckets = made_of(given, 8)
    curve = buckets.curves["loss"]
    assert len(buckets) <= 16
    assert curve.count.sum() == count
    stops = curve.count.cumsum().astype(int).tolist()
    for at, (start, stop) in enumerate(zip([0, *stops], stops, strict=False)):
        assert curve.low[at] == values[start:stop].min()
        assert curve.high[at] == values[start:stop].max()
        assert curve.mean()[at] == pytest.approx(values[start:stop].mean(), rel=1e-12)
        assert buckets.axes["step"][at] == given[stop - 1]["step"]


def test_looking_along_the_way_changes_nothing() -> None:
    given, steps = lines(999), DecimatedSteps(8)
    for at, line in enumerate(given):
        steps.add(line)
        if at % 37 == 0:
            steps.buckets()
    assert steps.lines == 999
    seen, at_once = steps.buckets(), made_of(given, 8)
    assert seen.curves["loss"].count.sum() == at_once.curves["loss"].count.sum() == 999
    assert np.nanmax(seen.curves["loss"].high) == np.nanmax(at_once.curves["loss"].high)
    assert seen.curves["loss"].total.sum() == pytest.approx(at_once.curves["loss"].total.sum())


def test_what_is_missing_or_no_number_counts_for_nothing() -> None:
    strange = (math.nan, math.inf, None, "7", True, [1], 10**400)
    given = [{"step": at, "loss": value} for at, value in enumerate(strange, 1)] + [{"step": 9, "loss": 2}]
    curve = made_of(given, 8).curves["loss"]
    assert curve.count.tolist() == [0] * 7 + [1]
    assert np.isnan(curve.mean()[:7]).all()
    assert curve.mean()[7] == curve.low[7] == curve.high[7] == 2


def test_a_figure_that_comes_late_is_nothing_before() -> None:
    steps = DecimatedSteps(4)
    for at in range(40):
        steps.add({"step": at, "loss": 1.0})
    steps.buckets()
    for at in range(40, 80):
        steps.add({"step": at, "reward": 5.0})
    curves = steps.buckets().curves
    assert curves["loss"].count.sum() == curves["reward"].count.sum() == 40
    assert set(curves["reward"].mean()[~np.isnan(curves["reward"].mean())]) == {5.0}


def test_hundreds_of_figures_do_not_make_hundreds_of_curves() -> None:
    assert len(made_of([{"step": 1, **{f"figure{at}": at for at in range(300)}}], 8).curves) == 24


@pytest.mark.parametrize("step", [0, 1, 13, 500, 998])
def test_steps_that_are_taken_again_are_told_once(step: int) -> None:
    steps = DecimatedSteps(8)
    for line in lines(999):
        steps.add(line)
    steps.go_back_to(step)
    for line in lines(1200)[step:]:
        steps.add(line)
    told = steps.buckets().axes["step"]
    assert (np.diff(told) > 0).all()
    assert told[-1] == 1200
    assert steps.buckets().curves["loss"].count.sum() <= 1200


def test_fewer_buckets_can_be_asked_for() -> None:
    steps = DecimatedSteps(64)
    for line in lines(100):
        steps.add(line)
    assert len(steps.buckets()) == 100
    assert len(steps.buckets(8)) <= 16
    assert len(steps.buckets()) == 100
