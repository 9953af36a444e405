"""Whatever ends a run of several ranks, one of them tells it in one line, and all end."""

import os
import signal
import time
from dataclasses import replace

import pytest
import torch
from tests.ranks.worlds import Agent, told

from lmhead.errors import InputError, NonFiniteError
from lmhead.training.config.train_config import TrainConfig

CONFIG = TrainConfig(device="cpu", timeout=30.0)


def joined(place, work, timeout=30.0):
    return place.train(replace(CONFIG, timeout=timeout), work)


def good(place):
    def work(ranks):
        print(f"sum {ranks.summed([ranks.rank + 1])[0]:.0f}", flush=True)
        return 0

    return joined(place, work)


def test_a_run_that_ends_well_is_told_by_rank_0():
    ends = Agent().attempt(2, good)
    assert [(end.code, end.out) for end in ends] == [(0, "sum 3\n"), (0, "")]
    assert told(ends) == []


def refused(place, who):
    def work(ranks):
        ranks.at("step 7")
        if ranks.rank in who:
            raise InputError(f"the disk of rank {ranks.rank} must have room")
        while True:
            ranks.summed([1.0])

    return joined(place, work)


@pytest.mark.parametrize("who", [(0, 1), (0,), (1,)])
def test_an_error_is_told_once_and_ends_all_with_its_status(who):
    ends = Agent().attempt(2, refused, who)
    lines = told(ends)
    assert len(lines) == 1
    assert lines[0] in [f"lmhead train: error: the disk of rank {rank} must have room" for rank in who]
    assert [end.code for end in ends] == [2, 2]


def all_are_there(place):
    """Nobody ends before each rank is where it hears of that: one that is asked to end on its way ends as asked."""
    world = place.world
    world.store.set(f"there/{world.rank}", "")
    while not all(world.store.check([f"there/{rank}"]) for rank in range(world.size)):
        time.sleep(0.02)


def not_finite_before_joining(place):
    all_are_there(place)

    def work():
        raise NonFiniteError("the loss is nan")

    place.world.agreed(work)
    return 0


def test_what_rank_0_does_for_all_fails_for_all():
    ends = Agent().attempt(2, not_finite_before_joining)
    assert told(ends) == ["lmhead train: error: the loss is nan"]
    assert [end.code for end in ends] == [1, 1]


def bug(place):
    return joined(place, lambda ranks: [][ranks.rank])


def test_a_fault_of_the_program_has_its_traceback_once():
    ends = Agent().attempt(2, bug)
    lines = told(ends)
    assert lines[0] == "Traceback (most recent call last):"
    assert lines.count("IndexError: list index out of range") == 1
    assert [end.code for end in ends] == [1, 1]


def killed(place, victim):
    def work(ranks):
        ranks.at("step 3")
        ranks.summed([1.0])
        time.sleep(1.5)  # in which the watch says so
        if ranks.rank == victim:
            os.kill(os.getpid(), signal.SIGKILL)
        while True:
            ranks.summed([1.0])

    place.world.began("runs/a b") if place.world.first else None
    return joined(place, work)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_is_killed_is_named_by_one_that_is_left(victim):
    ends = Agent().attempt(2, killed, victim)
    assert told(ends) == [
        f"lmhead train: error: every rank must stay until the run is over, got rank {victim} ended without a word at "
        "step 3: go on with lmhead train --resume 'runs/a b'"
    ]
    assert [end.code for end in ends] == [-9 if rank == victim else 1 for rank in range(2)]


def test_the_launcher_names_it_where_there_is_one():
    ends = Agent(launched=True).attempt(2, killed, 1)
    assert told(ends) == []
    assert [end.code for end in ends] == [1, -9]


def test_where_all_are_started_again_that_is_said():
    assert told(Agent(restarts=1).attempt(2, killed, 0))[0].endswith("step 3: all are started again")


def killed_early(place, victim):
    all_are_there(place)
    if place.world.rank == victim:
        os.kill(os.getpid(), signal.SIGKILL)
    while True:
        time.sleep(0.1)


def test_who_is_asked_to_end_since_another_was_killed_is_silent():
    ends = Agent(launched=True).attempt(2, killed_early, 0)
    assert told(ends) == []
    assert [end.code for end in ends] == [-9, 1]


def asked_to_stop(place, who):
    all_are_there(place)
    if place.world.rank == who:
        os.kill(os.getpid(), signal.SIGTERM)
    while True:
        time.sleep(0.1)


def test_a_request_to_stop_that_one_rank_gets_ends_all():
    ends = Agent().attempt(2, asked_to_stop, 1)
    assert [line for line in told(ends) if line] == ["stopped by SIGTERM; start it again"]
    assert [end.code for end in ends] == [143, 143]


def hangs(place, victim):
    def work(ranks):
        ranks.at("step 5")
        ranks.summed([1.0])
        if ranks.rank == victim:
            os.kill(os.getpid(), signal.SIGSTOP) if victim else time.sleep(60)
        ranks.at("step 6")
        while True:
            ranks.summed([1.0])

    return joined(place, work, timeout=3.0)


def test_a_rank_that_hangs_is_named_within_the_time_out():
    ends = Agent().attempt(3, hangs, 0)
    assert told(ends) == [
        "lmhead train: error: every rank must come to what all do together within the time-out of 3 s (--timeout), got "
        "no sign of rank 0 since step 6: start it again"
    ]
    assert {end.code for end in ends[1:]} == {1}


def hangs_over_data(place, victim):
    def work(ranks):
        if ranks.rank == victim:
            time.sleep(60)
        return ranks.shared(lambda: 0)

    return joined(place, work, timeout=3.0)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_hangs_while_rank_0_reads_the_data_for_all_is_named_too(victim):
    lines = told(Agent().attempt(3, hangs_over_data, victim))
    assert len(lines) == 1
    assert f"within the time-out of 3 s (--timeout), got no sign of rank {victim} since the start" in lines[0]


def hangs_before_it_joins(place):
    if place.world.first:
        time.sleep(60)
    return place.world.agreed(lambda: 0)


def test_rank_0_that_hangs_before_they_join_is_named_too():
    lines = told(Agent().attempt(2, hangs_before_it_joins, timeout=3.0))
    assert len(lines) == 1
    assert "within the time-out of 3 s (--timeout), got no sign of rank 0 since the start" in lines[0]


def hangs_in_a_forward(place, mesh):
    def work(ranks):
        if ranks.rank == 1:
            time.sleep(60)
        torch.distributed.all_reduce(torch.ones(1), group=ranks.mesh.get_group(mesh))
        return 0

    place.world.timeout = 3.0
    return place.train(replace(CONFIG, timeout=3.0, mesh=f"{mesh}=2"), work)


@pytest.mark.parametrize("mesh", ["dp", "tp"])
def test_a_rank_that_hangs_in_the_collectives_of_a_mesh_is_named_too(mesh):
    lines = told(Agent().attempt(2, hangs_in_a_forward, mesh))
    assert len(lines) == 1
    assert "within the time-out of 3 s (--timeout), got no sign of rank 1 since the start" in lines[0]


def never(place):
    raise AssertionError


@pytest.mark.parametrize("agentless", [False, True])
@pytest.mark.parametrize(("absent", "missing"), [((1,), "no sign of rank 1"), ((0,), "rank 0")])
def test_a_world_that_never_completes_ends_within_the_time_out(absent, missing, agentless):
    ends = Agent().attempt(
        3 if absent == (1,) else 2, never, timeout=2.0, absent=absent, agentless=agentless, asks=False
    )
    lines = told(ends)
    assert len(lines) == 1
    assert "within the time-out of 2 s (--timeout), got " in lines[0]
    assert missing in lines[0]
    assert [end.code for end in ends] == [None if rank in absent else 1 for rank in range(len(ends))]


def test_a_second_attempt_is_not_told_the_first_ones_keys():
    agent = Agent(restarts=2)
    agent.attempt(2, killed, 1)
    assert [end.code for end in agent.attempt(2, killed_early, 1, number=1)][1] == -9
    ends = agent.attempt(2, good, number=2, counts={1: 1})  # the other host's agent has counted one less
    assert [(end.code, end.out) for end in ends] == [(0, "sum 3\n"), (0, "")]


def test_what_would_end_so_again_is_not_tried_again():
    agent = Agent(restarts=1)
    assert len(told(agent.attempt(2, refused, (0, 1)))) == 1
    ends = agent.attempt(2, good, number=1)
    assert told(ends) == []
    assert [end.out for end in ends] == ["", ""]
    assert 2 in [end.code for end in ends]  # whichever comes first


def remembers(place, folder):
    out, run = place.world.earlier()
    print(out, run, flush=True)
    if out is None:
        place.world.created(folder)
    elif run is None:
        place.world.began(folder)
    return 0 if run else killed_early(place, 1)


def test_what_an_attempt_has_made_the_next_one_knows():
    agent = Agent(restarts=2)
    said = [agent.attempt(2, remembers, "runs/a", number=number)[0].out for number in range(3)]
    assert said == ["None None\n", "runs/a None\n", "runs/a runs/a\n"]
