"""Every mesh takes up what the one before has saved: weights and moments bit for bit."""

from pathlib import Path

import pytest
from tests.ranks.launched import on_ranks
from tests.training.checkpoints.sharded_runs import CASES, stage

from lmhead.ranks.ranks import ALONE

MESHES = (
    *((3, None), (4, "shard=2,tp=2"), (2, "cp=2"), (4, None), (4, "dp=2,tp=2"), (4, "dp=4"), (2, "dp=2"), (5, None)),
    *((4, "tp=4"), (2, None), (6, "dp=3"), (4, "cp=2,tp=2"), (3, "tp=3"), (8, "dp=2,shard=2,tp=2")),
)


@pytest.mark.timeout(3600)
def test_any_mesh_goes_on_from_any_other_bit_for_bit(tmp_path: Path) -> None:
    assert stage(ALONE, tmp_path, CASES, 0, 1) == []
    for step, (size, mesh) in enumerate(MESHES, 1):
        assert on_ranks(size, stage, tmp_path, CASES, step, step + 1, mesh=mesh) == [[]] * size, mesh
        assert stage(ALONE, tmp_path, CASES, step + 1, step + 1) == [], mesh
