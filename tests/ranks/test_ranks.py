"""What ranks do together, beside what one does alone."""

import signal
import time

import numpy as np
import pytest
import torch
from tests.ranks.launched import on_ranks, outcomes_on_ranks

from lmhead.errors import ArgumentError, InputError, LostRankError
from lmhead.ranks.mesh import MeshPlan
from lmhead.ranks.ranks import ALONE
from lmhead.training.stopping import Stopped


def everything(ranks):
    array = np.arange(100_000)
    made = ranks.shared(lambda: {"large": array + ranks.rank, "small": "x" * (ranks.rank + 1)})
    return (
        ranks.summed([1.0 + ranks.rank, 0.5]),
        ranks.agreed(lambda: ranks.rank),
        ranks.gathered(ranks.rank),
        ranks.everyone(ranks.rank),
        (made["large"].sum(), made["small"]),
        ranks.rows(0, 5),
    )


def large_ones(ranks):
    """More than torch's store takes at once, and none of it an array."""
    texts = ranks.shared(lambda: ["é" * 100] * 10 + [str(number) * 7 for number in range(500_000)])
    said = ranks.agreed(lambda: b"x" * (2 * 10**7))
    return len(said), len(texts), texts[0], texts[-1]


def test_what_they_do_together():
    large = np.arange(100_000).sum()
    made = on_ranks(2, everything)
    assert made[0] == ([3.0, 1.0], 0, [0, 1], [0, 1], (large, "x"), (0, 3))
    assert made[1] == ([3.0, 1.0], 0, None, [0, 1], (large, "x"), (3, 2))
    assert on_ranks(2, large_ones) == [(2 * 10**7, 500_010, "é" * 100, "499999" * 7)] * 2
    assert everything(ALONE) == ([1.0, 0.5], 0, [0], [0], (large, "x"), (0, 5))


def refused(ranks):
    def work():
        raise InputError("no such file")

    with pytest.raises(InputError, match="no such file"):
        ranks.agreed(work)
    with pytest.raises(InputError, match="no such file"):
        ranks.shared(work)
    return torch.distributed.get_world_size()


def stopped(ranks):
    """What others get of errors that pickle by more than their message."""

    def stop():
        raise Stopped(signal.SIGTERM)

    def unread():
        raise Unread(3)

    with pytest.raises(Stopped) as found:
        ranks.agreed(stop)
    with pytest.raises(Unread if ranks.first else LostRankError):
        ranks.agreed(unread)
    return found.value.name


class Unread(Exception):  # noqa: N818
    """One that can be pickled, and not be read again."""

    def __init__(self, number):
        super().__init__()


def works(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def late_to_leave(ranks):
    if ranks.first:
        works(12)  # a report that takes longer than the time-out


def test_an_error_of_rank_0_is_one_of_all():
    assert on_ranks(2, refused) == [2, 2]
    assert on_ranks(2, stopped) == ["SIGTERM", "SIGTERM"]


def without_room(ranks, folder):
    import resource
    import tempfile

    tempfile.tempdir = folder
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, resource.RLIM_INFINITY))
    return ranks.shared(lambda: np.arange(100_000)).sum()


def test_no_room_for_shared_data_is_told_in_a_line_and_nothing_is_left(tmp_path):
    outcomes = outcomes_on_ranks(2, without_room, str(tmp_path))
    assert "InputError: TMPDIR must have room for the 800," in outcomes[0][1]
    assert f"got {tmp_path}: File too large; free some space, or set it to another folder" in outcomes[0][1]
    assert list(tmp_path.iterdir()) == []


def test_rank_0_may_come_last_to_the_end():
    assert on_ranks(2, late_to_leave, timeout=5.0) == [None, None]


def data_of_long_work(ranks):
    return ranks.shared(lambda: works(12) or 5)


def test_rank_0_that_works_on_the_data_longer_than_the_time_out_is_left_in_peace():
    assert on_ranks(2, data_of_long_work, timeout=5.0) == [5, 5]


def data_over_a_slow_network(ranks):
    from lmhead.ranks import shared_object

    plain = shared_object._broadcast

    def slow(*arguments):
        time.sleep(2)
        return plain(*arguments)

    shared_object._broadcast, shared_object._AT_ONCE = slow, 2**17
    return ranks.shared(lambda: np.arange(100_001)).sum()


def test_ranks_wait_longer_than_the_time_out_for_data_that_go_to_other_hosts():
    assert on_ranks(4, data_over_a_slow_network, timeout=12.0, hosts=2) == [np.arange(100_001).sum()] * 4


def late(ranks):
    if ranks.first:
        time.sleep(12)
    return ranks.agreed(lambda: 1)


def late_and_busy(ranks):
    """At what ought to be short, and where it says nothing."""
    if ranks.first:
        works(12)
    return ranks.agreed(lambda: 1)


def asleep_over_data(ranks):
    return ranks.shared(lambda: time.sleep(12))


@pytest.mark.parametrize("hangs", [late, late_and_busy, asleep_over_data])
def test_rank_0_that_hangs_is_told(hangs):
    outcomes = outcomes_on_ranks(2, hangs, timeout=5.0)
    assert outcomes[1][0] == "raised"
    assert "rank 0 must be at work within the time-out of 5 s" in outcomes[1][1]


@pytest.mark.parametrize(
    ("text", "size", "plan"),
    [
        (None, 1, MeshPlan()),
        (None, 4, MeshPlan(shard=4)),
        ("dp=2", 8, MeshPlan(dp=2, shard=4)),
        ("dp=2,shard=2,tp=2", 8, MeshPlan(dp=2, shard=2, tp=2)),
        ("cp = 2", 2, MeshPlan(cp=2)),
    ],
)
def test_plans(text, size, plan):
    assert MeshPlan.of(text, size) == plan
    assert MeshPlan.of(str(plan), size) == plan


@pytest.mark.parametrize(
    "text", ["dp", "dp=", "dp=0", "dp=2,dp=2", "pp=2", "dp=-1", "dp=1.5", ",", "dp=2;tp=2", "dp=²"]
)
def test_what_is_no_mesh(text):
    with pytest.raises(ArgumentError, match="mesh must be a list as dp=2,shard=4"):
        MeshPlan.of(text, 4)


@pytest.mark.parametrize(("text", "size"), [("dp=2,shard=2", 8), ("tp=3", 4), ("dp=2", 1)])
def test_a_mesh_that_does_not_multiply(text, size):
    with pytest.raises(ArgumentError, match=f"mesh must multiply to the {size} rank"):
        MeshPlan.of(text, size)


@pytest.mark.parametrize("text", [None, "dp=2,cp=2", "shard=2,tp=2", "dp=2,tp=2"])
@pytest.mark.parametrize("count", [0, 1, 3, 4, 7])
def test_rows_are_dealt_once(text, count):
    class Rank(type(ALONE)):
        def __init__(self, rank):
            self.rank, self.plan = rank, MeshPlan.of(text, 4)

    dealt = [Rank(rank).rows(10, count) for rank in range(4)]
    by_reader = {Rank(rank).plan.reader(rank): own for rank, own in enumerate(dealt)}
    assert len(by_reader) == MeshPlan.of(text, 4).readers
    rows = [row for _, (first, own) in sorted(by_reader.items()) for row in range(first, first + own)]
    assert rows == list(range(10, 10 + count))
