"""A checkpoint is taken up by any number of ranks, whichever number wrote it: weights and moments bit for bit."""

from pathlib import Path

import torch
from tests.ranks.launched import on_ranks
from tests.training.checkpoints.sharded_runs import CASES, stage

from lmhead.ranks.ranks import ALONE
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.weights.published_model import read_model


def test_one_two_four_two_and_one_go_on_from_each_other_bit_for_bit(tmp_path: Path) -> None:
    assert stage(ALONE, tmp_path, CASES, 0, 2) == []
    for size, mesh, first, to in ((2, None, 2, 4), (4, "dp=2", 4, 5), (2, "tp=2", 5, 6)):
        assert on_ranks(size, stage, tmp_path, CASES, first, to, mesh=mesh) == [[]] * size
    assert stage(ALONE, tmp_path, CASES, 6, 7) == []
    for case in CASES:
        run = RunFolder(tmp_path / case.name)
        for step in (2, 4, 5, 6, 7):
            run.checkpoint_for_use(step, use="resume")
            kept = torch.load(run.path / f"whole-{step}.pt", weights_only=True)["state"]
            published = dict(read_model(run.checkpoint(step), device=torch.device("cpu")).named_parameters())
            means = {name.removeprefix("average/"): mean for name, mean in kept.items() if name.startswith("average/")}
            assert all(torch.equal(published[name], mean.to(case.dtype)) for name, mean in means.items()), (case, step)
