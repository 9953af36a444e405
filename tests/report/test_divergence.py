"""Where a loss goes wrong: at the very step, and not where nothing is wrong."""

import math
import random
from collections.abc import Iterable

import pytest

from lmhead.report.divergence import LossWatch
from lmhead.report.loss_event import Event


def losses(count: int, *, noise: float = 0.1, seed: int = 0) -> list[float]:
    chance = random.Random(seed)
    return [2 + 6 * math.exp(-at / 60) + chance.gauss(0, noise) for at in range(count)]


def events(values: Iterable[float], *, broken: bool = False) -> list[Event]:
    watch = LossWatch()
    for step, loss in enumerate(values, 1):
        watch.see(step, loss)
    return watch.events(broken=broken)


@pytest.mark.parametrize("seed", range(20))
def test_a_healthy_run_has_no_events(seed: int) -> None:
    assert events(losses(5000, seed=seed)) == []


def test_a_spike_is_told_with_its_step_and_its_height() -> None:
    values = losses(600)
    values[299] = values[300] = 7.5
    (event,) = events(values)
    assert (event.kind, event.step, event.until, event.count, event.worst) == ("spike", 300, 301, 2, 7.5)
    assert event.before == pytest.approx(2.05, abs=0.1)


def test_a_loss_that_jumps_and_stays_began_at_that_step() -> None:
    values = [loss + (4 if at >= 400 else 0) for at, loss in enumerate(losses(600))]
    (event,) = events(values)
    assert (event.kind, event.step, event.until) == ("jump", 401, None)


def test_a_long_excursion_that_ends_is_a_jump_with_an_end() -> None:
    values = [loss + (4 if 400 <= at < 550 else 0) for at, loss in enumerate(losses(800))]
    (event,) = events(values)
    assert (event.kind, event.step, event.until, event.count) == ("jump", 401, 550, 150)


def test_what_lasts_when_a_run_breaks_is_no_spike() -> None:
    values = [*losses(400), 5.0, 9.0, 30.0]
    assert [event.kind for event in events(values)] == ["spike"]
    (event,) = events(values, broken=True)
    assert (event.kind, event.step, event.until) == ("jump", 401, None)


def test_losses_that_are_no_numbers_are_told_from_the_first_on() -> None:
    watch = LossWatch()
    for step, loss in enumerate([*losses(100), math.nan, math.nan, 2.1, math.inf], 1):
        watch.see(step, loss, math.nan if step == 103 else 0.5)
    loss, norm = watch.events()
    assert (loss.kind, loss.figure, loss.step, loss.until, loss.count) == ("not finite", "loss", 101, 104, 3)
    assert (norm.figure, norm.step, norm.count) == ("gradient norm", 103, 1)


def test_a_loss_that_climbs_slowly_is_told_with_where_it_turned() -> None:
    values = [loss + max(0, at - 500) * 0.003 for at, loss in enumerate(losses(1200))]
    (event,) = events(values)
    assert (event.kind, event.until) == ("climb", None)
    assert 350 < event.step <= 540
    assert event.worst is not None
    assert event.worst > 3.5


def test_a_loss_that_turns_within_the_first_steps_is_told() -> None:
    chance = random.Random(0)
    values = [6.2 - 0.08 * at if at < 20 else 6.4 - 0.001 * at for at in range(300)]
    (event,) = events([value + chance.gauss(0, 0.1) for value in values])
    assert (event.kind, event.until) == ("climb", None)
    assert 10 <= event.step <= 30


def test_a_climb_that_comes_back_has_an_end() -> None:
    values = [loss + 2 * math.sin(max(0, min(at - 500, 300)) / 300 * math.pi) for at, loss in enumerate(losses(1500))]
    (event,) = events(values)
    assert event.kind == "climb"
    assert event.until is not None
    assert 750 < event.until < 850


@pytest.mark.parametrize("seed", range(5))
def test_a_noisy_run_of_small_batches_has_no_climbs(seed: int) -> None:
    chance = random.Random(seed)
    values = [1 + 2 * math.exp(-at / 300) + 0.3 * chance.gammavariate(2, 1) for at in range(20_000)]
    assert [event for event in events(values) if event.kind == "climb"] == []


@pytest.mark.parametrize("steps", [20, 35, 60, 120])
def test_a_loss_that_never_fell_is_told(steps: int) -> None:
    (event,) = events(6.4 + 0.2 * at * at for at in range(steps))
    assert (event.kind, event.step, event.until) == ("climb", 1, None)


def test_a_short_run_that_rose_above_its_beginning_is_told_with_where_it_turned() -> None:
    (event,) = events([6.4 - at * 0.1 for at in range(20)] + [4.5 + at * 0.3 for at in range(19)])
    assert (event.kind, event.step, event.before) == ("climb", 20, pytest.approx(4.5))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("steps", [10, 20, 40, 100, 139, 500])
def test_a_fine_tuning_that_hardly_falls_is_healthy(seed: int, steps: int) -> None:
    chance = random.Random(seed)
    assert events(1.5 - 0.1 * at / steps + chance.gauss(0, 0.2) for at in range(steps)) == []


@pytest.mark.parametrize("value", [None, "2.1", True, [2.0]])
def test_what_is_no_number_is_passed_over(value: object) -> None:
    watch = LossWatch()
    for step in range(100):
        watch.see(step, value, value)
    assert watch.events() == []


def test_going_back_forgets_what_came_after() -> None:
    watch = LossWatch()
    values = losses(600)
    values[299] = 9.0
    for step, loss in enumerate(values, 1):
        watch.see(step, loss)
    watch.see(601, math.nan)
    watch.go_back_to(299)
    assert watch.events() == []


def test_only_the_highest_spikes_of_many_are_kept() -> None:
    values = losses(4000)
    for at in range(100, 3900, 40):
        values[at] = 6.0 + at / 1000
    found = events(values)
    assert len(found) == 50
    assert min(event.worst or 0 for event in found) > 7.5
