"""What a collective moves, by hand and by link."""

import pytest

from lmhead.ranks.mesh import MeshPlan
from lmhead.scaling.rank_group import Collective, Groups, RankGroup


def collective(kind, size, group, calls=1):
    return Collective(name="", kind=kind, size=size, calls=calls, group=group)


@pytest.mark.parametrize(
    ("kind", "sent"), [("all-gather", 750), ("reduce-scatter", 750), ("all-reduce", 1500), ("all-to-all", 750)]
)
def test_a_ring_of_four_sends_three_quarters_in_each_round(kind, sent):
    assert collective(kind, 1000, RankGroup(size=4)).sent == sent
    assert collective(kind, 1000, RankGroup(size=4), calls=3).sent == 3 * sent
    assert collective(kind, 1000, RankGroup(size=1)).sent == 0


@pytest.mark.parametrize(
    ("group", "local"),
    [
        (RankGroup(size=4), 4),
        (RankGroup(size=64), 8),
        (RankGroup(size=4, stride=2), 4),
        (RankGroup(size=8, stride=2), 4),
        (RankGroup(size=8, stride=8), 1),
        (RankGroup(size=8, stride=64), 1),
    ],
)
def test_members_on_a_host_of_eight(group, local):
    assert group.on_a_host(8) == local
    within, between = collective("all-gather", 1024.0, group).by_link(8)
    assert within + between == pytest.approx(collective("all-gather", 1024.0, group).sent)
    assert (between == 0) == (local == group.size)


def test_two_hosts_share_their_networks():
    """16 ranks, 8 a host: a ring leaves each host once, so that 8 rings put an eighth of the bytes on each network."""
    each = collective("all-gather", 1600.0, RankGroup(size=16))
    assert each.by_link(8) == (pytest.approx(1500 * 7 / 8), pytest.approx(1500 / 8))
    assert each.seconds(link=100, network=1, hop=0.0, per_host=8) == pytest.approx(187.5)  # of the slower one
    assert each.seconds(link=1, network=100, hop=0.0, per_host=8) == pytest.approx(1312.5)
    assert each.seconds(link=100, network=1, hop=0.5, per_host=8) == pytest.approx(187.5 + 15 * 0.5)


def test_the_groups_of_a_mesh_are_those_of_its_ranks():
    plan = MeshPlan(dp=2, shard=3, cp=2, tp=4)
    groups = Groups.of(plan)
    of = {"body": ("dp",), "replicas": ("shard", "cp", "tp"), "vocabulary": ("dp", "tp")}
    of |= {"cp": ("dp", "shard", "tp"), "tp": ("dp", "shard", "cp")}
    for name, fixed in of.items():
        group = getattr(groups, name)
        first = [rank for rank in range(plan.size) if all(plan.place(rank)[each] == 0 for each in fixed)]
        assert first == [index * group.stride for index in range(group.size)], name
